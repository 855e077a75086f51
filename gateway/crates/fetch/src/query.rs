//! What is asked for, and its head.

use http::Method;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use pingora::http::RequestHeader;
use url::Url;

/// What is posted. Never logged.
#[derive(Clone, Copy)]
pub enum Body<'a> {
    /// A form.
    Form(&'a str),
    /// A JSON document.
    Json(&'a str),
}

impl<'a> Body<'a> {
    pub(crate) const fn text(self) -> &'a str {
        match self {
            Self::Form(text) | Self::Json(text) => text,
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Form(_) => "application/x-www-form-urlencoded",
            Self::Json(_) => "application/json",
        }
    }
}

pub(crate) fn request(
    url: &Url,
    authorization: Option<&str>,
    body: Option<Body<'_>>,
) -> pingora::Result<RequestHeader> {
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let method = body.map_or(Method::GET, |_| Method::POST);
    let mut request = RequestHeader::build(method, target.as_bytes(), Some(6))?;
    request.insert_header(HOST, authority)?;
    request.insert_header(ACCEPT, "application/json")?;
    request.insert_header(
        USER_AGENT,
        concat!("cupcake-gateway/", env!("CARGO_PKG_VERSION")),
    )?;
    if let Some(authorization) = authorization {
        request.insert_header(AUTHORIZATION, authorization)?;
    }
    if let Some(body) = body {
        request.insert_header(CONTENT_TYPE, body.media_type())?;
        request.insert_header(CONTENT_LENGTH, body.text().len())?;
    }
    Ok(request)
}
