//! Pages that backends publish for people: one GET, read whole within bounds. Nothing of the browser's
//! request goes along, and of the answer there is a body and its kind alone.
//!
//! Owns: which backend publishes what, what is asked, how large and how slow an answer may be. Not: who
//! may read it, nor the headers that it is shown with (`gateway-oauth`, `backend_page`).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::RequestHeader;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::account::Account;
use super::backend::{Backend, IdentityHeaders};
use super::connection::{Connection, Connections, Failure, Pooling};
use super::request::{Request, RequestError};
use gateway_core::protocol::published::PAGES;
use gateway_core::protocol::resource::Issuer;

/// Tells a backend where people open its pages: the URL of the folder, with its last slash. Clients
/// can't say it, as nothing that begins with `X-Forwarded-` passes.
pub const PAGES_HEADER: HeaderName = HeaderName::from_static("x-forwarded-pages");

/// The largest page, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;
/// So many are read at a time; large ones count until the browser has them.
const AT_ONCE: usize = 32;
/// A page that no browser keeps waiting in memory: it fits what the system holds of a connection.
const SMALL: usize = 64 * 1024;
/// How long a page may take from its first byte to its last, and how long until then where the backend's
/// own patience is longer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Reads pages of backends.
#[derive(Debug)]
pub struct PageReader {
    backends: Vec<Arc<Backend>>,
    connections: Arc<Connections>,
    identity: IdentityHeaders,
    free: Arc<Semaphore>,
}

/// Who reads a page, for the backend.
#[derive(Clone, Copy, Debug)]
pub struct PageUser<'a> {
    /// The person's login name.
    pub name: &'a str,
    /// The client and the grant under which the person may read it, if it is by one.
    pub grant: Option<(&'a str, &'a str)>,
    /// The person's account there, where people call the backend with their own.
    pub account: Option<&'a Account>,
}

/// A page, read whole.
#[derive(Clone, Debug)]
pub struct BackendPage {
    /// What it is.
    pub kind: PageKind,
    /// Its bytes.
    pub body: Bytes,
    /// To be kept until a large one was written to the browser: so long it counts.
    pub held: Option<Arc<OwnedSemaphorePermit>>,
}

/// What a page may be. What is none of these is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// `text/html`
    Html,
    /// `text/plain`
    Text,
    /// `text/css`
    StyleSheet,
    /// A picture that can't hold a program.
    Picture(&'static str),
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// No backend of this name publishes a page of this name.
    #[error("there is no such page")]
    Absent,
    /// As many are being read as may be.
    #[error("{AT_ONCE} pages are being read")]
    Busy,
    /// It is none that is shown: what is wrong with it.
    #[error("{0}")]
    Unfit(String),
    /// The backend asks for authentication, or refuses the Host, with this status.
    #[error("the backend refused, with status {0}")]
    Refused(u16),
    /// The backend says that it can't, with this status.
    #[error("the backend answered with status {0}")]
    Status(u16),
    /// The exchange failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl PageKind {
    /// What a `Content-Type` of a backend says; its parameters don't matter.
    pub fn parse(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        const PICTURES: [&str; 5] = [
            "image/png",
            "image/jpeg",
            "image/gif",
            "image/webp",
            "image/avif",
        ];
        match essence.to_ascii_lowercase().as_str() {
            "text/html" => Some(Self::Html),
            "text/plain" => Some(Self::Text),
            "text/css" => Some(Self::StyleSheet),
            other => PICTURES
                .into_iter()
                .find(|it| *it == other)
                .map(Self::Picture),
        }
    }

    /// The `Content-Type` that it is shown with.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
            Self::StyleSheet => "text/css; charset=utf-8",
            Self::Picture(essence) => essence,
        }
    }

    /// Whether it is something to read, rather than a part of it.
    pub const fn is_document(self) -> bool {
        matches!(self, Self::Html | Self::Text)
    }
}

impl Backend {
    /// The same backend, told with every request where people open its pages, if it publishes some.
    #[must_use]
    pub fn told_of_pages(mut self, issuer: &Issuer) -> Self {
        if self.pages.is_some() {
            let url = issuer.join(&format!("{}{PAGES}", self.mount.prefix));
            if let Ok(url) = HeaderValue::try_from(url) {
                self.headers.push((PAGES_HEADER, url));
            }
        }
        self
    }
}

impl PageReader {
    /// A reader of these backends' pages.
    pub fn new(
        backends: Vec<Arc<Backend>>,
        connections: Arc<Connections>,
        identity: IdentityHeaders,
    ) -> Self {
        Self {
            backends,
            connections,
            identity,
            free: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// The backend of a name, if it publishes a page of the name `page`.
    pub fn publisher(&self, name: &str, page: &str) -> Option<&Arc<Backend>> {
        let mut backends = self.backends.iter();
        let backend = backends.find(|backend| backend.mount.name == name)?;
        backend.pages.as_ref()?.target(page).map(|_| backend)
    }

    /// Reads a page, whatever the person may. For HEAD, too: what is told of it is what a GET would be.
    pub async fn read(
        &self,
        backend: &str,
        page: &str,
        user: PageUser<'_>,
    ) -> Result<BackendPage, PageError> {
        let backend = self.publisher(backend, page).ok_or(PageError::Absent)?;
        let target = backend.pages.as_ref().and_then(|pages| pages.target(page));
        let target = target.ok_or(PageError::Absent)?;
        let free = Arc::clone(&self.free);
        let held = free.try_acquire_owned().map_err(|_| PageError::Busy)?;
        let request = Request {
            target: &target,
            body: None,
            account: user.account,
            pooling: Pooling::Reuse,
            is_repeatable: true,
            // Of the folder that is published, this page alone was judged.
            follows_redirect: false,
            caller: None,
            deadline: Some(backend.response_timeout.min(PATIENCE)),
        };
        let reached = self
            .connections
            .request(backend, request, |target| self.head(backend, target, user))
            .await
            .map_err(PageError::from)?;
        let mut connection = reached.connection;
        match timeout(PATIENCE, received(&mut connection)).await {
            Ok(Ok((kind, body))) => {
                self.connections.release(connection).await;
                let held = (body.len() > SMALL).then(|| Arc::new(held));
                Ok(BackendPage { kind, body, held })
            }
            Ok(Err(error)) => {
                connection.abandon().await;
                Err(error)
            }
            Err(_) => {
                connection.abandon().await;
                Err(Failure::TimedOut("the page").into())
            }
        }
    }

    /// `None` if a value of ours is no header value.
    fn head(&self, backend: &Backend, target: &str, user: PageUser<'_>) -> Option<RequestHeader> {
        let build = RequestHeader::build_no_case(Method::GET, target.as_bytes(), Some(8));
        let mut head = build.ok()?;
        head.insert_header(HOST, HeaderValue::from_str(&backend.host).ok()?)
            .ok()?;
        let accept = HeaderValue::from_static("text/html, text/plain, text/css, image/*;q=0.8");
        head.insert_header(ACCEPT, accept).ok()?;
        for (name, value) in &backend.headers {
            head.insert_header(name.clone(), value.clone()).ok()?;
        }
        if let Some((name, value)) = backend.account_line(user.account) {
            head.insert_header(name, value).ok()?;
        }
        let (client, grant) = user.grant.unzip();
        // Last, so that nothing above can stand in for them.
        for (name, text) in [
            (&self.identity.user, Some(user.name)),
            (&self.identity.client, client),
            (&self.identity.grant, grant),
        ] {
            if let Some(text) = text {
                let value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
                head.insert_header(name.clone(), value).ok()?;
            }
        }
        Some(head)
    }
}

/// The page of an answer whose head was read.
async fn received(connection: &mut Connection) -> Result<(PageKind, Bytes), PageError> {
    let head = connection.read_head().await?;
    let kind = judged(head.status, &head.headers)?;
    let mut body = BytesMut::new();
    while let Some(chunk) = connection.read_body().await? {
        if body.len() + chunk.len() > LARGEST {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok((kind, body.freeze()))
}

/// What an answer is, by its head.
fn judged(status: StatusCode, headers: &HeaderMap) -> Result<PageKind, PageError> {
    match status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Err(PageError::Absent),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => {
            return Err(PageError::Refused(status.as_u16()));
        }
        status => return Err(PageError::Status(status.as_u16())),
    }
    let said = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if said(CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(PageError::Unfit("it is compressed".to_owned()));
    }
    let length = said(CONTENT_LENGTH).and_then(|length| length.trim().parse::<u64>().ok());
    if length.is_some_and(|length| length > LARGEST as u64) {
        return Err(too_large());
    }
    let content_type = said(CONTENT_TYPE).unwrap_or("nothing");
    PageKind::parse(content_type)
        .ok_or_else(|| PageError::Unfit(format!("its content type is {content_type}")))
}

fn too_large() -> PageError {
    PageError::Unfit(format!("it is larger than {} MiB", LARGEST / 1024 / 1024))
}

impl From<RequestError> for PageError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Failed(failure) => Self::Failed(failure),
            RequestError::Redirected(status) => Self::Status(status.as_u16()),
            RequestError::Unspeakable => Self::Failed(Failure::Limit(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_hold_no_program_is_a_page() {
        for (said, shown) in [
            ("text/html", "text/html; charset=utf-8"),
            ("TEXT/HTML ; charset=utf-16", "text/html; charset=utf-8"),
            ("text/plain", "text/plain; charset=utf-8"),
            ("text/css;x", "text/css; charset=utf-8"),
            ("image/png", "image/png"),
        ] {
            assert_eq!(PageKind::parse(said).unwrap().content_type(), shown);
        }
        for said in [
            "",
            "text/javascript",
            "application/javascript",
            "application/json",
            "image/svg+xml",
            "application/xhtml+xml",
            "text/xml",
            "text/html+x",
            "multipart/x-mixed-replace",
        ] {
            assert_eq!(PageKind::parse(said), None, "{said}");
        }
    }

    #[test]
    fn an_answer_is_judged_by_its_head() {
        let headers = |pairs: &[(HeaderName, &'static str)]| {
            let pairs = pairs.iter().cloned();
            pairs
                .map(|(name, value)| (name, HeaderValue::from_static(value)))
                .collect::<HeaderMap>()
        };
        let html = (CONTENT_TYPE, "text/html");
        let judge = |status: u16, pairs: &[(HeaderName, &'static str)]| {
            judged(StatusCode::from_u16(status).unwrap(), &headers(pairs))
        };
        assert_eq!(judge(200, std::slice::from_ref(&html)), Ok(PageKind::Html));
        assert_eq!(
            judge(404, std::slice::from_ref(&html)),
            Err(PageError::Absent)
        );
        assert_eq!(
            judge(401, std::slice::from_ref(&html)),
            Err(PageError::Refused(401))
        );
        for status in [206, 204, 301, 500] {
            let met = judge(status, std::slice::from_ref(&html));
            assert_eq!(met, Err(PageError::Status(status)));
        }
        let unfit = |pairs: &[_]| matches!(judge(200, pairs), Err(PageError::Unfit(_)));
        assert!(unfit(&[html.clone(), (CONTENT_ENCODING, "gzip")]));
        assert!(unfit(&[html.clone(), (CONTENT_LENGTH, "4194305")]));
        assert!(unfit(&[]));
        assert!(!unfit(&[html, (CONTENT_LENGTH, "4194304")]));
    }
}
