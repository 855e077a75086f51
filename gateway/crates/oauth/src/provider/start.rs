//! `POST /login/NAME`: from a button to the provider.

use std::time::Duration;

use http::StatusCode;
use rand::rngs::OsRng;

use super::exchange::callback_url;
use super::failure::Failure;
use super::settings::{Protocol, Provider};
use super::{github, openid};
use crate::audited::{audited, take_records};
use crate::browser::{self, BrowserName, Cookie, PostedForm};
use crate::error_page::{self, Refused};
use crate::error_response::loggable;
use crate::form_token::{self, Purpose, SealError};
use crate::login::{Fields, LoginForm};
use crate::pages::Goal;
use crate::request_limit::RequestLimit;
use crate::server::{AuthorizationServer, Settings};
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, SecretHash, TagKey};
use gateway_store::{CountKey, KeptGoal, ProviderLogin};

/// Logins that may be begun. Each is kept for ten minutes, and anybody can begin one.
const LIMIT: RequestLimit = RequestLimit {
    per_network: 600,
    in_all: 20_000,
    window: Duration::from_secs(600),
};

/// The longest authorization request that is kept with a login, in bytes; those of apps have some
/// hundreds.
const LONGEST_REQUEST: usize = 2048;

/// `POST /login/NAME`.
pub(super) async fn submit(
    server: &AuthorizationServer,
    provider: &Provider,
    request: &Request,
    now: Timestamp,
) -> Response {
    let answered = begin(server, provider, request, now).await;
    answered.unwrap_or_else(|refused| refused.page(&server.settings, request))
}

async fn begin(
    server: &AuthorizationServer,
    provider: &Provider,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let form = browser::posted_form(&server.settings, request)?;
    let fields = Fields::from_form(&server.settings, &form);
    let login_form = server.login_form();
    let link = person_to_link(login_form, provider, request, &form, now).await?;
    if link.is_none() {
        login_form.check_seal(request, &fields, now)?;
    }
    let fail = |failure| failed(&server.settings, provider, request, fields.goal, failure);
    if fields
        .goal
        .authorization_request()
        .is_some_and(|query| query.len() > LONGEST_REQUEST)
    {
        let detail = format!(
            "the app's authorization request is longer than {LONGEST_REQUEST} bytes, which is too \
             long to be kept while somebody is at an identity provider"
        );
        return Err(fail(Failure::because(Reason::RequestMalformed, detail)));
    }
    let (from, all) = (CountKey::provider_logins, CountKey::all_provider_logins());
    let counted = LIMIT.count_from(&server.records, request.peer, from, &all, now);
    if let Some(reason) = counted.await? {
        return Err(fail(Failure::because(reason, "")));
    }
    let state = Secret::draw(&mut OsRng);
    let pass = Pass::new(&server.tags, &state);
    let mut url = match &provider.protocol {
        Protocol::OpenId(open_id) => {
            let metadata = server.providers.metadata(open_id, now).await;
            openid::login_page(open_id, &metadata.map_err(fail)?, &pass)
        }
        Protocol::GitHub(github) => github::login_page(github, provider),
    };
    url.query_pairs_mut()
        .append_pair("client_id", &provider.client_id)
        .append_pair("redirect_uri", &callback_url(&server.settings, provider))
        .append_pair("response_type", "code")
        .append_pair("state", state.reveal())
        // S256 of the verifier: what a hash of a secret is here.
        .append_pair("code_challenge", pass.verifier.hash().as_str())
        .append_pair("code_challenge_method", "S256");
    let login = ProviderLogin {
        provider: provider.name.clone(),
        browser: browser_hash(&server.settings, request),
        goal: match fields.goal {
            Goal::Start => KeptGoal::Start,
            Goal::Account | Goal::Tokens | Goal::Passkeys => KeptGoal::Account,
            Goal::Authorize(query) => KeptGoal::Authorize(query.to_owned()),
            Goal::Page(path) => KeptGoal::Page(path.to_owned()),
        },
        link,
    };
    let records = &server.records;
    records
        .begin_provider_login(&state.hash(), &login, now)
        .await?;
    Ok(web::see_other(url.as_str()))
}

/// What only the one who began a login can show of it: derived from its state, so that nothing
/// secret is kept.
pub(super) struct Pass {
    /// For the provider's token endpoint (RFC 7636).
    pub(super) verifier: Secret,
    /// Comes back in the ID token.
    pub(super) nonce: Secret,
}

impl Pass {
    pub(super) fn new(tags: &TagKey, state: &Secret) -> Self {
        let key = tags.derive("provider login");
        let derived = |what: &[u8]| key.secret(&[what, state.reveal().as_bytes()]);
        Self {
            verifier: derived(b"verifier"),
            nonce: derived(b"nonce"),
        }
    }
}

/// Of the cookie that names the asking browser.
pub(crate) fn browser_hash(settings: &Settings, request: &Request) -> SecretHash {
    let cookie = Cookie::Browser.read(settings, request);
    Secret::presented(cookie.unwrap_or_default()).hash()
}

/// The person at `/account` who wants to log in with the provider from now on: logged in, in this
/// browser, and the form is one of that page's.
async fn person_to_link(
    login_form: LoginForm<'_>,
    provider: &Provider,
    request: &Request,
    form: &PostedForm,
    now: Timestamp,
) -> Result<Option<UserId>, Refused> {
    let seal = form.field("link");
    if seal.is_empty() {
        return Ok(None);
    }
    let session = login_form.resumed_session(request, Goal::Account, now);
    let session = session.await?;
    let browser = BrowserName::from_request(login_form.ways.settings, request);
    let bound = link_bound(&browser.value, &session.user, &provider.name);
    match form_token::unseal(login_form.tags, Purpose::Link, &bound, seal, now) {
        Ok(_) => Ok(Some(session.user)),
        Err(error) => {
            let reason = match error {
                SealError::Broken => Reason::CrossSiteForm,
                SealError::Expired => Reason::PageExpired,
            };
            error_page::log("login_refused", request, reason);
            let status = StatusCode::FORBIDDEN;
            Err(error_page::page(login_form.ways.settings, request, status, reason, None).into())
        }
    }
}

/// What the seal of a form at `/account` binds that begins a link.
pub(crate) fn link_bound<'a>(
    browser: &'a str,
    user: &'a UserId,
    provider: &'a str,
) -> [&'a [u8]; 3] {
    [
        browser.as_bytes(),
        user.as_str().as_bytes(),
        provider.as_bytes(),
    ]
}

/// The page that says why a login did not come about, with a link back to where it was begun.
pub(super) fn failed(
    settings: &Settings,
    provider: &Provider,
    request: &Request,
    goal: Goal<'_>,
    failure: Failure,
) -> Refused {
    let (reason, detail) = match failure.explained() {
        Ok(explained) => explained,
        Err(error) => return error.into(),
    };
    Failure::log(
        "login_refused",
        provider,
        reason,
        &detail,
        Some(request),
        None,
    );
    let status = Failure::status(reason);
    let back = goal.authorization_request();
    let mut page = error_page::explained(settings, request, status, reason, Some(&detail), back);
    // It is a login that failed, and not just a page.
    let _ = take_records(&mut page);
    let what = detail.lines().next().unwrap_or_default();
    let record = Record {
        detail: Some(format!("{}: {}", provider.name, loggable(what))),
        ..Record::refused(Event::Login, reason, status.is_server_error())
    };
    audited(page, record).into()
}
