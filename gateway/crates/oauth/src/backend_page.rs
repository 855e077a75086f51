//! `/pages/…` below the place of a backend: what it publishes for people, opened from a citation.
//!
//! Who may: the owner, and whoever could read it by a tool at that moment. A page stands for what
//! `fetch` answers for an id of its name; it opens for a person who has given an app a grant by which
//! the policy lets that call through.
//!
//! Owns: who is asked to log in, who may read, the headers that a page of somebody else's leaves with.
//! Not: how it is read from the backend (`gateway-upstream`, `page`).

mod judge;

use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
    REFERRER_POLICY,
};

use crate::audited::{audited, take_records};
use crate::endpoint::Subject;
use crate::error_page::{self, Refused};
use crate::pages::{self, Goal};
use crate::server::{AuthorizationServer, Settings};
use gateway_accounts::{AccountError, Person};
use gateway_core::audit::{Event, Record};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::grants::Grant;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_upstream::{BackendPage, Failure, PageError, PageUser};

/// No script, nothing from elsewhere, no form, and no frame: what a document of somebody else's says
/// can be read here and nothing more. In the sandbox it leads nowhere by itself (`<meta http-equiv=refresh>`)
/// but by a press of the reader; of its own origin, so that its style and pictures are.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; \
     sandbox allow-same-origin allow-top-navigation-by-user-activation";

/// `GET /pages/NAME`. Whoever is not logged in is asked to, and comes back.
pub(super) async fn page(
    server: &AuthorizationServer,
    subject: &Subject,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let (mount, path) = (&subject.mount.name, &subject.path);
    if server.pages.publisher(mount, path).is_none() {
        let status = StatusCode::NOT_FOUND;
        let page = error_page::page(&server.settings, request, status, Reason::NotFound, None);
        return Ok(page);
    }
    let goal = Goal::Page(&request.path);
    let session = server.login_form().session(request, goal, now).await?;
    open(server, subject, request, &session, now).await
}

async fn open(
    server: &AuthorizationServer,
    subject: &Subject,
    request: &Request,
    session: &BrowserSession,
    now: Timestamp,
) -> Result<Response, Refused> {
    let refused =
        |refusal: Refusal| Ok(refusal.to_response(&server.settings, subject, request, session));
    let reading = judge::reading(server, subject, request.peer, session, now).await?;
    let Some(reading) = reading else {
        let reason = Reason::BackendPageNotAllowed;
        let detail = format!("backend: {}", subject.mount.name);
        return refused(Refusal::new(StatusCode::FORBIDDEN, reason, detail));
    };
    let grant = reading.grant();
    let person = Person {
        id: &session.user,
        name: &session.user_name,
    };
    let (mount, path) = (&subject.mount.name, &subject.path);
    let account = match server.accounts.credential(mount, person).await {
        Ok(account) => account,
        Err(error) => return refused(Refusal::of_account(&error)),
    };
    let user = PageUser {
        account: account.as_deref(),
        name: &session.user_name,
        grant: grant.map(|grant| (grant.client.as_str(), grant.id.as_str())),
    };
    match server.pages.read(mount, path, user).await {
        Ok(page) => Ok(shown(&server.settings, subject, session, grant, page)),
        Err(error) => refused(Refusal::from_error(&error, subject)),
    }
}

fn shown(
    settings: &Settings,
    subject: &Subject,
    session: &BrowserSession,
    grant: Option<&Grant>,
    page: BackendPage,
) -> Response {
    let mut response = Response::new(page.body);
    let own = [
        (CONTENT_TYPE, page.kind.content_type()),
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (REFERRER_POLICY, "no-referrer"),
        // A right that was taken back counts from the next look.
        (CACHE_CONTROL, "private, no-store"),
        (ACCEPT_RANGES, "none"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ];
    pages::set_headers(&mut response, settings.issuer.is_https(), own);
    // Dropped when the response was written.
    response.extensions_mut().insert(page.held);
    // The style sheet of a page is no reading of its own.
    if !page.kind.is_document() {
        return response;
    }
    let record = Record {
        client: grant.map(|grant| grant.client.as_str().to_owned()),
        grant: grant.map(|grant| grant.id.as_str().to_owned()),
        ..about(subject, session, Record::new(Event::BackendPage))
    };
    audited(response, record)
}

/// A record with whose reading of what it was.
fn about(subject: &Subject, session: &BrowserSession, record: Record) -> Record {
    Record {
        user: Some(session.user.as_str().to_owned()),
        backend: Some(subject.mount.name.clone()),
        name: Some(subject.path.clone()),
        ..record
    }
}

/// Why a page is not shown.
struct Refusal {
    status: StatusCode,
    reason: Reason,
    detail: String,
}

impl Refusal {
    const fn new(status: StatusCode, reason: Reason, detail: String) -> Self {
        Self {
            status,
            reason,
            detail,
        }
    }

    /// What the reader can mend is a refusal; what nobody can say now is none.
    fn of_account(error: &AccountError) -> Self {
        let status = if error.is_for_person() {
            StatusCode::FORBIDDEN
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        Self::new(status, error.reason(), error.to_string())
    }

    fn from_error(error: &PageError, subject: &Subject) -> Self {
        let detail = format!("backend: {}\nwhat it met: {error}", subject.mount.name);
        let (status, reason) = match error {
            PageError::Absent => (StatusCode::NOT_FOUND, Reason::NotFound),
            PageError::Unfit(_) => (StatusCode::BAD_GATEWAY, Reason::BackendPageUnfit),
            PageError::Busy => (StatusCode::SERVICE_UNAVAILABLE, Reason::Overloaded),
            PageError::Refused(401) => (StatusCode::BAD_GATEWAY, Reason::UpstreamRefusedUs),
            PageError::Refused(_) => (StatusCode::BAD_GATEWAY, Reason::UpstreamRefusedHost),
            PageError::Status(503) => (StatusCode::SERVICE_UNAVAILABLE, Reason::UpstreamFailed),
            PageError::Status(_) => (StatusCode::BAD_GATEWAY, Reason::UpstreamFailed),
            PageError::Failed(failure) => {
                let reason = match failure {
                    Failure::Unreachable(_) => Reason::UpstreamUnreachable,
                    Failure::TimedOut(_) => Reason::UpstreamTimeout,
                    Failure::NoFiles(_) | Failure::Full(_) => Reason::Overloaded,
                    _ => Reason::UpstreamFailed,
                };
                (StatusCode::SERVICE_UNAVAILABLE, reason)
            }
        };
        Self::new(status, reason, detail)
    }

    fn to_response(
        &self,
        settings: &Settings,
        subject: &Subject,
        request: &Request,
        session: &BrowserSession,
    ) -> Response {
        error_page::log("backend_page_refused", request, self.reason);
        let detail = Some(self.detail.as_str());
        let mut page = error_page::page(settings, request, self.status, self.reason, detail);
        // It is a reading that was refused, and not just a page.
        let _ = take_records(&mut page);
        let refused = Record::refused(
            Event::BackendPage,
            self.reason,
            self.status.is_server_error(),
        );
        audited(page, about(subject, session, refused))
    }
}

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");
