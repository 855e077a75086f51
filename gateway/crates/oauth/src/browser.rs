//! What the pages have in common when they talk with a browser: cookies, forms that come back,
//! and the raw authorization request that travels in them.

pub(crate) mod cookie;

use crate::server::Settings;
use http::header::{HeaderName, HeaderValue, ORIGIN};
use http::{HeaderMap, StatusCode};

pub(crate) use self::cookie::{BrowserName, Cookie};

use crate::error_page::{self, Refused};
use crate::pages::Frame;
use gateway_core::grants::Tools;
use gateway_core::protocol::form::{Form, has_media_type};
use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;

/// What every page shows around its content.
pub(super) fn frame<'a>(settings: &'a Settings, request: &'a Request) -> Frame<'a> {
    Frame {
        site: &settings.title,
        authority: settings.issuer.authority(),
        request_id: &request.request_id,
    }
}

/// The form that a page of ours posted, or the page that says why it is refused.
pub(super) fn posted_form(settings: &Settings, request: &Request) -> Result<PostedForm, Refused> {
    let refuse = |status, reason, detail: &str| {
        error_page::log("form_refused", request, reason);
        Refused::from(error_page::page(
            settings,
            request,
            status,
            reason,
            Some(detail),
        ))
    };
    if !is_same_origin(&request.headers, settings.issuer.as_str()) {
        let origin = request.headers.get(ORIGIN).and_then(|o| o.to_str().ok());
        let detail = format!(
            "sent from: {}\nexpected: {}",
            origin.unwrap_or("another site"),
            settings.issuer
        );
        let status = StatusCode::FORBIDDEN;
        return Err(refuse(status, Reason::CrossSiteForm, &detail));
    }
    if !has_media_type(&request.headers, FORM) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let detail = format!("expected: {FORM}");
        return Err(refuse(status, Reason::MediaTypeWrong, &detail));
    }
    match Form::parse_up_to(&request.body, MOST_FIELDS) {
        Ok(form) => Ok(PostedForm(form)),
        Err(error) => {
            let status = StatusCode::BAD_REQUEST;
            let detail = error.to_string();
            Err(refuse(status, Reason::RequestMalformed, &detail))
        }
    }
}

/// The fields of a form of ours.
pub(super) struct PostedForm(Form);

impl PostedForm {
    /// A field. One that is missing is empty, and so is one that our pages never send twice.
    pub(super) fn field(&self, name: &'static str) -> &str {
        self.0.one(name).ok().flatten().unwrap_or_default()
    }

    /// The values of a field that may stand more than once: boxes that were ticked.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.all(name)
    }
}

/// Whether a POST may come from a page of ours. Browsers say so themselves: `Sec-Fetch-Site`
/// can't be set by a page, and where it is missing, `Origin` stands for it. A program that sends
/// neither has no cookies that it could abuse; the seal decides.
fn is_same_origin(headers: &HeaderMap, issuer: &str) -> bool {
    match headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
        Some(b"same-origin" | b"none") => true,
        Some(_) => false,
        None => match headers.get(ORIGIN) {
            Some(origin) => origin.as_bytes() == issuer.as_bytes(),
            None => true,
        },
    }
}

/// A raw authorization request that came back in a form, fit to stand in a URL of ours: visible
/// ASCII without `#`, at most [`MAX_REQUEST`] bytes. It only ever leads to `/authorize`, which judges it anew.
pub(super) fn authorization_request(text: &str) -> Option<&str> {
    let fits = !text.is_empty()
        && text.len() <= MAX_REQUEST
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    fits.then_some(text)
}

/// The longest authorization request that the pages carry, in bytes.
const MAX_REQUEST: usize = 16 * 1024;

/// More fields than any form of ours has: a box for each tool that the consent page shows.
const MOST_FIELDS: usize = Tools::MOST + 100;

const FORM: &str = "application/x-www-form-urlencoded";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|&(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        let issuer = "https://mcp.example.com";
        fn same(lines: &[(&'static str, &'static str)]) -> bool {
            is_same_origin(&headers(lines), "https://mcp.example.com")
        }
        assert!(same(&[]));
        assert!(same(&[("origin", issuer)]));
        assert!(same(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", issuer)
        ]));
        assert!(!same(&[("origin", "https://evil.example")]));
        assert!(!same(&[("origin", "null")]));
        assert!(!same(&[("origin", "http://mcp.example.com")]));
        assert!(!same(&[
            ("sec-fetch-site", "cross-site"),
            ("origin", issuer)
        ]));
        assert!(!same(&[("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn a_request_in_a_form_can_only_be_a_query() {
        assert!(authorization_request("client_id=c_1&state=a%20b+c").is_some());
        for text in [
            "",
            "a b",
            "a\r\nSet-Cookie: x=1",
            "a#b",
            "é",
            &"a".repeat(MAX_REQUEST + 1),
        ] {
            assert!(authorization_request(text).is_none(), "{text}");
        }
    }
}
