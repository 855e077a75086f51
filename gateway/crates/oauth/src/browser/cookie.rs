//! The cookies that the gateway sets, and the name of a browser, which one of them keeps.

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderValue, SET_COOKIE};
use rand::rngs::OsRng;

use crate::pages::{self, Page};
use crate::server::Settings;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::secret::Secret;

/// The cookies that the gateway sets. All are `HttpOnly`, `SameSite=Lax`, for the whole origin.
/// With https they are `Secure` and carry the `__Host-` prefix, so that no other host and no
/// plain connection can plant one. `Lax`, because the person arrives from the app's site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// Names a browser to which nobody has logged in yet; what the seals of its forms bind.
    Browser,
    /// A login.
    Session,
    /// Says that somebody has logged in with this browser before.
    Device,
}

impl Cookie {
    const fn name(self, https: bool) -> &'static str {
        match (self, https) {
            (Self::Browser, true) => "__Host-browser",
            (Self::Browser, false) => "browser",
            (Self::Session, true) => "__Host-session",
            (Self::Session, false) => "session",
            (Self::Device, true) => "__Host-device",
            (Self::Device, false) => "device",
        }
    }

    /// Its value in a request; a value that no cookie of ours has is as good as none.
    pub(crate) fn read<'r>(self, settings: &Settings, request: &'r Request) -> Option<&'r str> {
        request
            .cookie(self.name(settings.issuer.is_https()))
            .filter(|value| (22..=256).contains(&value.len()))
    }

    /// Sets it. Without `lifetime` it ends with the browser.
    pub(crate) fn set(
        self,
        settings: &Settings,
        response: &mut Response,
        value: &str,
        lifetime: Option<Duration>,
    ) {
        let https = settings.issuer.is_https();
        let name = self.name(https);
        let secure = if https { "; Secure" } else { "" };
        let age = lifetime.map_or_else(String::new, |age| format!("; Max-Age={}", age.as_secs()));
        let line = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}");
        if let Ok(line) = HeaderValue::from_str(&line) {
            response.headers_mut().append(SET_COOKIE, line);
        }
    }

    /// Removes it from the browser.
    pub(crate) fn clear(self, settings: &Settings, response: &mut Response) {
        self.set(settings, response, "", Some(Duration::ZERO));
    }
}

/// The name of the asking browser: the one it sent, or a new one that the response must set.
pub(crate) struct BrowserName {
    /// The cookie's value.
    pub(crate) value: String,
    is_new: bool,
}

impl BrowserName {
    /// Reads or draws it.
    pub(crate) fn from_request(settings: &Settings, request: &Request) -> Self {
        match Cookie::Browser.read(settings, request) {
            Some(value) => Self {
                value: value.to_owned(),
                is_new: false,
            },
            None => Self {
                value: Secret::draw(&mut OsRng).reveal().to_owned(),
                is_new: true,
            },
        }
    }

    /// A page for this browser, which learns its name with it.
    pub(crate) fn respond(&self, settings: &Settings, status: StatusCode, page: Page) -> Response {
        let mut response = pages::respond(status, page, settings.issuer.is_https());
        self.keep(settings, &mut response);
        response
    }

    /// Puts a new name onto the response.
    pub(crate) fn keep(&self, settings: &Settings, response: &mut Response) {
        if self.is_new {
            Cookie::Browser.set(settings, response, &self.value, None);
        }
    }
}
