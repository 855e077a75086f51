//! `/account/tokens`: a person's own tokens, for programs that have no browser.
//!
//! Owns: the pages and their forms. Not: what making one is (`personal`), its form
//! (`gateway_core::grants::personal`).
//!
//! A token is shown on the page that answers the button, once. A double click is two requests of which
//! the browser shows the second, so for a moment the same press is answered with the same token: it is
//! derived from the form, not drawn.

use std::time::Duration;

use http::StatusCode;
use rand::rngs::OsRng;

use super::form::{Sealer, bound, entered};
use super::new_token::{self, NewTokenRequest};
use super::{cards, revoke};
use crate::audited::audited;
use crate::browser::{self, BrowserName};
use crate::endpoint::Endpoint;
use crate::error_page::{self, Refused};
use crate::form_token::Purpose;
use crate::pages::{self, AccountNotice, Goal, MadeToken, NewTokenProblem, OwnToken, Tokens};
use crate::personal::{self, MOST, MintOutcome, NewToken, NotMade};
use crate::server::{AuthorizationServer, Settings};
use crate::session;
use gateway_core::browser_session::BrowserSession;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::Tools;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::resource::Mount;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::TagKey;
use gateway_store::{GrantsOf, Key};

/// For so long the same press shows the same token again.
const DOUBLE: Duration = Duration::from_secs(3);

/// `GET /account/tokens`. Whoever is not logged in is asked to, and comes back.
pub(crate) async fn page(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let login_form = server.login_form();
    let session = login_form.session(request, Goal::Tokens, now).await?;
    show(server, request, &session, None).await
}

async fn show(
    server: &AuthorizationServer,
    request: &Request,
    session: &BrowserSession,
    notice: Option<AccountNotice>,
) -> Result<Response, Refused> {
    let now = server.clock.now();
    let browser = BrowserName::from_request(&server.settings, request);
    let sealer = Sealer {
        server,
        browser: &browser.value,
        session,
        now,
    };
    let of = GrantsOf {
        user: Some(&session.user),
        client: Some(&ClientId::new(ClientId::PERSONAL_TOKEN)),
    };
    let mut tokens = Vec::new();
    let refused = notice.as_ref().and_then(AccountNotice::reason);
    let page = server.records.grants(of, None, MOST, now).await?;
    for grant in page.entries {
        let used = cards::last_use(&server.records, &server.last_use, &grant, now).await?;
        let Some(personal) = &grant.personal else {
            continue;
        };
        let from = match server.last_use.seen_from(&grant.id) {
            Some(from) => Some(from),
            None => {
                let written = server.records.last_address(&grant.id, now).await;
                let key = Key::last_address(&grant.id);
                server.records.unless_unreadable(&key, written)?
            }
        };
        tokens.push(OwnToken {
            name: personal.name.clone(),
            from,
            connection: cards::connection(sealer, &grant, used, &cards::Offers::new()),
        });
    }
    tokens.sort_by_key(|token| std::cmp::Reverse(token.connection.since));
    let status = notice
        .as_ref()
        .map_or(StatusCode::OK, AccountNotice::status);
    let mounts = server.settings.mounts.iter();
    let names = mounts.map(|mount| mount.name.as_str());
    let page = Tokens {
        frame: browser::frame(&server.settings, request),
        user_name: &session.user_name,
        now,
        notice,
        tokens,
        backends: names
            .filter(|_| server.settings.personal.is_some())
            .collect(),
        log_out_seal: &session::log_out_seal(&server.tags, &browser, session, now),
    }
    .page();
    let response = browser.respond(&server.settings, status, page);
    Ok(entered(request, session, response, refused))
}

/// `POST /account/tokens/revoke`.
pub(crate) async fn submit_revoke(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let done = revoke::press(server, request, now).await?;
    let notice = done.notice.map(|notice| match notice {
        AccountNotice::Revoked(Some(name)) => AccountNotice::TokenEnded(name),
        notice => notice,
    });
    let answered = match notice {
        Ok(notice) => show(server, request, &done.session, Some(notice)).await,
        Err(error) => Err(error.into()),
    };
    Ok(revoke::with_records(
        server,
        request,
        answered,
        done.records,
    ))
}

/// `GET /account/tokens/new?backend=NAME`.
pub(crate) async fn new(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let login_form = server.login_form();
    let session = login_form.session(request, Goal::Tokens, now).await?;
    let query = request.query.as_deref().unwrap_or_default();
    let form = Form::parse(query.as_bytes()).ok();
    let named = form.as_ref().and_then(|form| form.one("backend").ok()?);
    let Some((mount, longest)) = about(&server.settings, named) else {
        return Ok(web::see_other(Endpoint::AccountTokens.path()));
    };
    Ok(new_token::first(server, request, &session, mount, longest).await)
}

/// The backend of this name, or the only one; and how long a token may last. `None` where none can be
/// made.
fn about<'a>(settings: &'a Settings, named: Option<&str>) -> Option<(&'a Mount, Duration)> {
    let longest = settings.personal?;
    let mut mounts = settings.mounts.iter();
    let mount = match (named, settings.mounts.as_slice()) {
        (Some(name), _) => mounts.find(|mount| mount.name == name)?,
        (None, [only]) => only,
        (None, _) => return None,
    };
    Some((mount, longest))
}

/// `POST /account/tokens/new`: the token, or the form again.
pub(crate) async fn submit_new(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let form = browser::posted_form(&server.settings, request)?;
    let goal = Goal::Tokens;
    let session = server
        .login_form()
        .resumed_session(request, goal, now)
        .await?;
    let Some((mount, longest)) = about(&server.settings, Some(form.field("backend"))) else {
        return Ok(web::see_other(Endpoint::AccountTokens.path()));
    };
    let asked = NewTokenRequest::read(server, request, &form, &session, mount, longest, now)?;
    let granted = match new_token::judge(
        &server.catalogue,
        &server.settings,
        request,
        &session,
        mount,
        &asked,
    )
    .await
    {
        Ok(tools) => tools,
        Err(problem) => {
            let again = new_token::show(server, request, &session, mount, longest, asked, problem);
            return Ok(again.await);
        }
    };
    make(server, request, &session, mount, asked, granted, now).await
}

async fn make(
    server: &AuthorizationServer,
    request: &Request,
    session: &BrowserSession,
    mount: &Mount,
    asked: NewTokenRequest,
    tools: Tools,
    now: Timestamp,
) -> Result<Response, Refused> {
    let new = NewToken {
        user: &session.user,
        user_name: &session.user_name,
        name: asked.name.clone(),
        mount,
        tools,
        lasts: Duration::from_secs(asked.days * 24 * 3600),
        seed: asked.seed(server, session),
    };
    let longest = server.settings.personal.unwrap_or_default();
    let again = |problem| {
        new_token::show(
            server,
            request,
            session,
            mount,
            longest,
            asked,
            Some(problem),
        )
    };
    match personal::make(&server.settings, server.memberships(), new, now).await {
        Ok(made) => Ok(shown(&server.settings, request, session, mount, made, now)),
        Err(NotMade::Because(Reason::PageExpired)) => Ok(again(NewTokenProblem::PageExpired).await),
        Err(NotMade::Because(Reason::PersonalTokensTooMany)) => {
            Ok(again(NewTokenProblem::TooMany).await)
        }
        Err(NotMade::Store(error)) => Err(error.into()),
        Err(NotMade::Because(reason)) => Err(refused(&server.settings, request, reason)),
        Err(NotMade::TooLong(_)) => {
            Err(refused(&server.settings, request, Reason::RequestMalformed))
        }
    }
}

pub(super) fn refused(settings: &Settings, request: &Request, reason: Reason) -> Refused {
    error_page::refused(settings, request, "form_refused", reason)
}

/// The page with the token, or with the words that it was shown before.
fn shown(
    settings: &Settings,
    request: &Request,
    session: &BrowserSession,
    mount: &Mount,
    made: MintOutcome,
    now: Timestamp,
) -> Response {
    let when = made.when();
    let is_same_press = made.record.is_some() || now < when + DOUBLE;
    let name = made.grant.personal.as_ref().map(|kept| kept.name.as_str());
    let page = MadeToken {
        frame: browser::frame(settings, request),
        user_name: &session.user_name,
        name: name.unwrap_or_default(),
        token: Some(made.token.reveal()).filter(|_| is_same_press),
        lasts: made.grant.expires.since(when),
        backend: &mount.name,
        mcp: &settings.issuer.join(&mount.mcp_path()),
    }
    .page();
    let response = pages::respond(StatusCode::OK, page, settings.issuer.is_https());
    match made.record {
        Some(record) => audited(response, record),
        None => response,
    }
}

/// Seals a form for a new token: for this browser, this person, this backend and what was shown.
pub(super) fn seal(
    tags: &TagKey,
    browser: &str,
    session: &BrowserSession,
    fields: [&str; 2],
    now: Timestamp,
) -> String {
    let bound = bound(browser, session, &fields);
    let purpose = Purpose::MakeToken;
    crate::form_token::seal(tags, purpose, &bound, now, &mut OsRng)
}
