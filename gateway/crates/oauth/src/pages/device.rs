//! The pages for an app on another machine: the one that takes its code, and the one after the answer.

use std::time::Duration;

use askama::Template;

use super::page::{Forms, Frame, Page};
use super::text::{in_words, shown_name};

/// Asks for the code that an app shows.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "device.html")]
pub struct DeviceForm<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The code, where the app's address had it.
    pub code: Option<&'a str>,
    /// Why the page is shown again.
    pub problem: Option<DeviceProblem>,
}

/// Why the code leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceProblem {
    /// No app waits with it.
    Unknown,
    /// Too many were wrong; try again after this time.
    Limited(Duration),
}

impl DeviceForm<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        Page::render(self, Forms::Here)
    }

    fn alert(&self) -> Option<String> {
        Some(match self.problem? {
            DeviceProblem::Unknown => {
                "No app waits with this code. Compare it with the one that the app shows; it is good \
                 for ten minutes and for one answer."
                    .to_owned()
            }
            DeviceProblem::Limited(wait) => format!(
                "Too many wrong codes. Wait {} and try again.",
                in_words(wait)
            ),
        })
    }
}

/// Says what the answer was, and where to go on.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "device_done.html")]
pub struct DeviceDone<'a> {
    /// Around it.
    pub frame: Frame<'a>,
    /// The name that the app gives itself.
    pub app: Option<&'a str>,
    /// The backend.
    pub backend: &'a str,
    /// Whether it was allowed.
    pub is_allowed: bool,
}

impl DeviceDone<'_> {
    /// Renders it.
    pub fn page(&self) -> Page {
        Page::render(self, Forms::None)
    }

    fn name(&self) -> Option<String> {
        shown_name(self.app)
    }
}
