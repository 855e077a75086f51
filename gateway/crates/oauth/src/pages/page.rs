//! What all pages have in common: the frame around their content, and the headers that they leave with.

use askama::Template;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, StatusCode};

use super::assets;
use gateway_core::protocol::web::{self, Response};

/// What every page shows around its content.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The name of this installation.
    pub site: &'a str,
    /// Host and port of the public origin.
    pub authority: &'a str,
    /// Names the request in the footer, so that a person can point at a line of the log.
    pub request_id: &'a str,
}

impl Frame<'_> {
    pub(super) const fn style_sheet(&self) -> &'static str {
        assets::STYLE_SHEET
    }

    pub(super) const fn script(&self) -> &'static str {
        assets::SCRIPT
    }

    pub(super) const fn mark(&self) -> &'static str {
        assets::MARK
    }
}

/// Where the forms of a page lead, which decides its `form-action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forms {
    /// There are none.
    None,
    /// They are answered by this origin alone.
    Here,
    /// The answer may redirect to a client. Browsers apply `form-action` to the redirects that
    /// follow a form, so that it can't be set without naming every client.
    Beyond,
}

/// A rendered page.
#[derive(Clone, Debug)]
pub struct Page {
    html: String,
    forms: Forms,
    has_script: bool,
}

impl Page {
    pub(super) fn render(template: &impl Template, forms: Forms) -> Self {
        let html = template
            .render()
            .expect("a template fails only when the value in it does, and ours are text");
        Self {
            html,
            forms,
            has_script: false,
        }
    }

    /// The page with the script for passkeys, which it may load then, and no other.
    pub(super) fn with_script(self, has_script: bool) -> Self {
        Self { has_script, ..self }
    }

    /// The document.
    pub fn html(&self) -> &str {
        &self.html
    }
}

macro_rules! policy {
    () => {
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    };
}

/// A page as a response. `https` says whether the public origin is: browsers then keep to it. A fault of
/// ours, 503, says when to try again.
pub fn respond(status: StatusCode, page: Page, https: bool) -> Response {
    let policy = match (page.forms, page.has_script) {
        (Forms::None, _) => concat!(policy!(), "; form-action 'none'"),
        (Forms::Here, false) => concat!(policy!(), "; form-action 'self'"),
        (Forms::Here, true) => concat!(policy!(), "; form-action 'self'; script-src 'self'"),
        (Forms::Beyond, false) => policy!(),
        (Forms::Beyond, true) => concat!(policy!(), "; script-src 'self'"),
    };
    // No Cross-Origin-Opener-Policy: it would cut the app's window off from the pop-up that it
    // opened, also after the way back.
    let mut response = Response::new(Bytes::from(page.html));
    *response.status_mut() = status;
    let own = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy),
        // Not `no-referrer`: with it browsers send `Origin: null` from our own forms.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ];
    set_headers(&mut response, https, own);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response = web::with_retry_after(response, RETRY_AFTER);
    }
    response
}

/// Sets headers of a page, its own and those that every page has, whoever wrote it.
pub(crate) fn set_headers<const N: usize>(
    response: &mut Response,
    https: bool,
    own: [(HeaderName, &'static str); N],
) {
    let common = [
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_ROBOTS_TAG, "noindex, nofollow"),
    ];
    let strict = https.then_some((STRICT_TRANSPORT_SECURITY, "max-age=31536000"));
    for (name, value) in own.into_iter().chain(common).chain(strict) {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
}

/// In seconds.
const RETRY_AFTER: u64 = 2;

const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");
