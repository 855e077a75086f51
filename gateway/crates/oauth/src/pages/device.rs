//! The pages for an app on another machine: the one that takes its code, and the one after the answer.

use std::time::Duration;

use askama::Template;

use super::page::{Forms, Frame, Page};
use super::text::{clean, in_words};
use super::tool_picker::LONGEST_NAME;

/// Asks for the code that an app shows.
#[derive(Clone, Copy, Debug)]
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
        let alert = self.problem.map(|problem| match problem {
            DeviceProblem::Unknown => {
                "No app waits with this code. Compare it with the one that the app shows; it is good \
                 for ten minutes and for one answer."
                    .to_owned()
            }
            DeviceProblem::Limited(wait) => format!(
                "Too many wrong codes. Wait {} and try again.",
                in_words(wait)
            ),
        });
        let template = DeviceFormTemplate {
            frame: self.frame,
            code: self.code,
            alert,
        };
        Page::render(&template, Forms::Here)
    }
}

#[derive(Template)]
#[template(path = "device.html")]
struct DeviceFormTemplate<'a> {
    frame: Frame<'a>,
    code: Option<&'a str>,
    alert: Option<String>,
}

/// Says what the answer was, and where to go on.
#[derive(Clone, Copy, Debug)]
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
        let name = self.app.map(|name| clean(name, LONGEST_NAME));
        let template = DeviceDoneTemplate {
            frame: self.frame,
            app: name.filter(|name| !name.is_empty()),
            backend: self.backend,
            is_allowed: self.is_allowed,
        };
        Page::render(&template, Forms::None)
    }
}

#[derive(Template)]
#[template(path = "device_done.html")]
struct DeviceDoneTemplate<'a> {
    frame: Frame<'a>,
    app: Option<String>,
    backend: &'a str,
    is_allowed: bool,
}
