//! The consent page and its answer: what a person is asked before an app gets a code.
//!
//! Consent is asked every time. Nothing is stored for a page that was only looked at; the answer
//! carries the whole authorization request, which is judged anew.

use http::StatusCode;
use rand::rngs::OsRng;

use crate::audit::{Event, Record};
use crate::backend::Tool;
use crate::browser_session::BrowserSession;
use crate::client::metadata_document::DocumentUrl;
use crate::client::{Change, Client};
use crate::clock::Timestamp;
use crate::grants::Tools;
use crate::oauth::audited::audited;
use crate::oauth::authorize::{self, AuthorizeRefusal};
use crate::oauth::browser::{self, BrowserName, Cookie};
use crate::oauth::refusal::{self, Refused};
use crate::oauth::seal::{self, Purpose, SealError};
use crate::oauth::{AuthorizationServer, clients, login};
use crate::pages::{self, Capabilities, Changed, Consent};
use crate::protocol::redirect_uri::RedirectUri;
use crate::protocol::resource::Mount;
use crate::protocol::scope::Scope;
use crate::protocol::web::{Request, Response};
use crate::reason::Reason;
use crate::store::StoreError;

/// What a valid authorization request asks for, as far as a person is told.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks.
    pub client: &'a Client,
    /// Where the code would go; already compared with the registered ones.
    pub redirect_uri: &'a RedirectUri,
    /// Which backend.
    pub mount: &'a Mount,
    /// What would be granted.
    pub scope: &'a Scope,
    /// The whole request, undecoded: the form carries it and it is validated anew.
    pub raw_query: &'a str,
}

/// The consent page.
pub async fn page(
    server: &AuthorizationServer,
    request: &Request,
    session: &BrowserSession,
    asked: Asked<'_>,
) -> Response {
    let Some(raw_query) = browser::authorization_request(asked.raw_query) else {
        let status = StatusCode::BAD_REQUEST;
        let detail = "the authorization request is too long or not plain ASCII";
        return refusal::page(
            server,
            request,
            status,
            Reason::RequestMalformed,
            Some(detail),
        );
    };
    let now = server.clock.now();
    let browser = BrowserName::of(server, request);
    let change = match change(server, session, asked.client, now).await {
        Ok(change) => change,
        Err(error) => return Refused::from(error).page(server, request),
    };
    let as_shown = as_shown(asked.client);
    let bound = bound(&browser.value, session, raw_query, &as_shown);
    let address = DocumentUrl::parse(&asked.client.id).and_then(Result::ok);
    let page = Consent {
        frame: browser::frame(server, request),
        client_name: asked.client.name.as_deref(),
        registration: asked.client.registration,
        vouched_by: address.as_ref().map(DocumentUrl::host),
        registered: now.since(asked.client.registered),
        changed: change.as_ref().map(|change| Changed {
            allowed: now.since(change.allowed),
            name: change.name.as_deref(),
            redirect_uris: change.redirect_uris,
            authentication: change.authentication,
        }),
        client_as_shown: &as_shown,
        backend: &asked.mount.name,
        scope: &asked.scope.to_string(),
        user_name: &session.user_name,
        destination: asked.redirect_uri.destination(),
        capabilities: capabilities(server, request, asked.mount, session).await,
        lifetime: server.settings.longest_grant(asked.client),
        authorization_request: raw_query,
        seal: &seal::seal(&server.tags, Purpose::Consent, &bound, now, &mut OsRng),
        log_out_seal: &login::log_out_seal(server, &browser, session, now),
    }
    .page();
    let mut response = pages::respond(StatusCode::OK, page, server.settings.issuer.is_https());
    browser.keep(server, &mut response);
    response
}

/// `POST /consent`.
pub async fn submit(server: &AuthorizationServer, request: &Request) -> Response {
    let now = server.clock.now();
    match answer(server, request, now).await {
        Ok(answer) => finish(server, request, answer, now).await,
        Err(refused) => refused.page(server, request),
    }
}

/// The request is judged anew: the client may be gone, or the configuration another.
async fn finish(
    server: &AuthorizationServer,
    request: &Request,
    answer: Answer,
    now: Timestamp,
) -> Response {
    let asked = match authorize::validate(server, &answer.raw_query, now).await {
        Ok(asked) => asked,
        Err(AuthorizeRefusal::Page(reason, detail)) => {
            let status = StatusCode::BAD_REQUEST;
            return refusal::page(server, request, status, reason, Some(&detail));
        }
        Err(AuthorizeRefusal::Redirect(callback, error)) => return callback.refused(&error),
        Err(AuthorizeRefusal::Fault(error)) => {
            return Refused::from(error).page(server, request);
        }
    };
    // What was allowed is the client that the page showed, and no other under its id.
    if as_shown(asked.client()) != answer.client_as_shown {
        let reason = Reason::ClientChanged;
        refusal::log("consent_refused", request, reason);
        let status = StatusCode::FORBIDDEN;
        let query = Some(asked.raw_query());
        return refusal::page_with_way_back(server, request, status, reason, query);
    }
    if answer.allowed {
        let session = &answer.session;
        return authorize::approve(server, request, session, asked, Tools::All, now).await;
    }
    let reason = Reason::UserDenied;
    log::info!(
        event = "authorization_denied", reason, hint = reason.remedy(),
        client = asked.client().id.as_str(), user = answer.session.user.as_str(),
        request_id = request.request_id.as_str(); "{}", reason.sentence()
    );
    let record = Record {
        user: Some(answer.session.user.as_str().to_owned()),
        client: Some(asked.client().id.as_str().to_owned()),
        backend: Some(asked.mount().name.clone()),
        ..Record::refused(Event::Consent, reason, false)
    };
    audited(asked.callback().denied(), record)
}

/// An answer that came from our page, from the person it was shown to, for the first time.
struct Answer {
    session: BrowserSession,
    raw_query: String,
    client_as_shown: String,
    allowed: bool,
}

async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Answer, Refused> {
    let form = browser::posted_form(server, request)?;
    let raw_query = browser::authorization_request(form.field("request"));
    let refuse = |reason: Reason| {
        refusal::log("consent_refused", request, reason);
        let status = StatusCode::FORBIDDEN;
        Refused::from(refusal::page_with_way_back(
            server, request, status, reason, raw_query,
        ))
    };
    let Some((_, session)) = login::session(server, request, now).await? else {
        return Err(login::page_after_session(server, request, raw_query).into());
    };
    let browser = Cookie::Browser.read(&server.settings, request);
    let (Some(raw_query), Some(browser)) = (raw_query, browser) else {
        return Err(refuse(Reason::CrossSiteForm));
    };
    let as_shown = form.field("client");
    let bound = bound(browser, &session, raw_query, as_shown);
    let unsealed = seal::unseal(
        &server.tags,
        Purpose::Consent,
        &bound,
        form.field("seal"),
        now,
    )
    .map_err(|error| match error {
        SealError::Broken => refuse(Reason::CrossSiteForm),
        SealError::Expired => refuse(Reason::PageExpired),
    })?;
    let allowed = match form.field("decision") {
        "allow" => true,
        "deny" => false,
        _ => return Err(refuse(Reason::RequestMalformed)),
    };
    let once = format!("consent:{}", unsealed.nonce);
    if !server.records.once(&once, unsealed.expires, now).await? {
        return Err(refuse(Reason::PageExpired));
    }
    Ok(Answer {
        session,
        raw_query: raw_query.to_owned(),
        client_as_shown: as_shown.to_owned(),
        allowed,
    })
}

/// What must be the same when the answer comes back. The person and the browser, not the session:
/// somebody who logs in again in a second tab can still answer in the first.
fn bound<'a>(
    browser: &'a str,
    session: &'a BrowserSession,
    raw_query: &'a str,
    client_as_shown: &'a str,
) -> [&'a [u8]; 4] {
    [
        browser.as_bytes(),
        session.user.as_str().as_bytes(),
        raw_query.as_bytes(),
        client_as_shown.as_bytes(),
    ]
}

/// What the client is on the page, where its document may change before the answer.
fn as_shown(client: &Client) -> String {
    let fingerprint = client.fingerprint();
    fingerprint.map_or_else(String::new, |fingerprint| fingerprint.to_text())
}

/// How the client has changed since this person allowed it.
async fn change(
    server: &AuthorizationServer,
    session: &BrowserSession,
    client: &Client,
    now: Timestamp,
) -> Result<Option<Change>, StoreError> {
    let Some(Ok(address)) = DocumentUrl::parse(&client.id) else {
        return Ok(None);
    };
    let records = &server.records;
    let allowed = records.allowed(&session.user, &client.id, now).await?;
    let built_in = clients::built_in(server, &address, now);
    Ok(allowed.and_then(|allowed| allowed.change(client, built_in.as_ref())))
}

async fn capabilities(
    server: &AuthorizationServer,
    request: &Request,
    mount: &Mount,
    session: &BrowserSession,
) -> Capabilities {
    let user = Some(session.user_name.as_str());
    match server.catalogue.tools(&mount.name, user).await {
        Ok(tools) => Capabilities::Tools(tools.iter().map(shown).collect()),
        Err(error) => {
            let reason = Reason::UpstreamFailed;
            log::warn!(
                event = "tools_unknown", reason, hint = reason.remedy(),
                backend = mount.name.as_str(), error:% = error, request_id = request.request_id.as_str(); "{}", reason.sentence()
            );
            Capabilities::Unknown
        }
    }
}

fn shown(tool: &Tool) -> pages::Tool {
    pages::Tool {
        name: tool.name.clone(),
        title: Some(tool.display_name().to_owned()),
        description: tool.description.clone(),
        read_only: tool.annotations.read_only_hint,
        destructive: tool.annotations.destructive_hint,
    }
}
