//! `GET /login/NAME/callback`: the browser comes back from the provider.

use gateway_accounts::Returned;
use http::StatusCode;
use rand::rngs::OsRng;

use super::exchange::ProviderClient;
use super::failure::Failure;
use super::openid::ProviderUser;
use super::renewal::Memberships;
use super::settings::{OnLeave, Protocol, Provider};
use super::start::{Pass, browser_hash, failed};
use super::{github, openid, person};
use crate::audited::audited;
use crate::browser::{BrowserName, authorization_request};
use crate::endpoint::Endpoint;
use crate::error_page::Refused;
use crate::identity::people;
use crate::login;
use crate::pages::Goal;
use crate::revoke_all::{RevocationSubject, cut_off};
use crate::server::{AuthorizationServer, Settings};
use crate::session::Sessions;
use gateway_core::audit::{Event, Record};
use gateway_core::browser_session::ProviderAccount;
use gateway_core::clock::Timestamp;
use gateway_core::login_rules::{self, AllowRule, Missing};
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::Secret;
use gateway_store::{Identity, KeptGoal, ProviderLogin, Records, SingleUse, StoreError, User};

/// `GET /login/NAME/callback`. HEAD is no visit, and would use a login up.
pub(super) async fn answer(
    server: &AuthorizationServer,
    provider: &Provider,
    request: &Request,
    now: Timestamp,
) -> Response {
    if request.method == http::Method::HEAD {
        return web::empty(StatusCode::NO_CONTENT);
    }
    let answered = accept(server, provider, request, now).await;
    answered.unwrap_or_else(|refused| refused.page(&server.settings, request))
}

async fn accept(
    server: &AuthorizationServer,
    provider: &Provider,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let fail = |goal, failure| failed(&server.settings, provider, request, goal, failure);
    let query = request.query.as_deref().unwrap_or_default();
    let returned = Returned::read(query, "the provider").ok_or_else(|| {
        let failure = Failure::because(Reason::LoginStateUnknown, "");
        fail(Goal::Start, failure)
    })?;
    let (records, settings) = (&server.records, &server.settings);
    let taken = take_login(records, settings, provider, request, &returned.state, now).await;
    let login = taken.map_err(|failure| fail(Goal::Start, failure))?;
    let goal = goal(&server.settings, &login.goal);
    let provider_user = fetch_user(server.provider_client(), provider, &returned, now).await;
    let provider_user = provider_user.map_err(|failure| fail(goal, failure))?;
    let allowed = login_rules::judge(&provider.allow, &provider_user.profile);
    if let Err(lacking) = allowed {
        let detail = refusal_detail(provider, &provider_user, &lacking);
        // Who may be let in by what was not said has not left.
        let failure = if lacking.iter().any(|(_, missing)| missing.is_unsaid()) {
            provider_user.no_user_info
        } else {
            let identity = person::identity(provider, &provider_user, None, now);
            end_access_of_left(server.memberships(), provider, &identity, now).await?;
            None
        };
        let failure = failure.unwrap_or(Failure::because(Reason::PersonNotAllowed, detail));
        return Err(fail(goal, failure));
    }
    match &login.link {
        Some(_) => link(server, provider, request, &login, &provider_user, now).await,
        None => {
            let sessions = server.sessions();
            log_in(sessions, provider, request, &provider_user, goal, now).await
        }
    }
}

/// The login that was begun with this state, in this browser, at this provider; used up by this.
async fn take_login(
    records: &Records,
    settings: &Settings,
    provider: &Provider,
    request: &Request,
    state: &Secret,
    now: Timestamp,
) -> Result<ProviderLogin, Failure> {
    let unknown = |why: &str| Err(Failure::because(Reason::LoginStateUnknown, why));
    let login = match records.take_provider_login(&state.hash(), now).await? {
        SingleUse::Fresh(login) => login,
        SingleUse::Again => return unknown("it was used before"),
        SingleUse::Unknown => return unknown(""),
    };
    if login.provider != provider.name {
        return unknown("it was begun with another provider");
    }
    // Else a stranger could log a browser in as somebody else (RFC 9700 §4.7).
    if login.browser != browser_hash(settings, request) {
        return unknown("it was begun in another browser");
    }
    Ok(login)
}

/// Somebody as the provider knows them.
async fn fetch_user(
    client: ProviderClient<'_>,
    provider: &Provider,
    returned: &Returned,
    now: Timestamp,
) -> Result<ProviderUser, Failure> {
    let refused = |said: &String| Failure::because(Reason::ProviderRefused, said);
    let pass = Pass::new(client.tags, &returned.state);
    match &provider.protocol {
        Protocol::OpenId(open_id) => {
            let metadata = client.providers.metadata(open_id, now).await?;
            // RFC 9207 §2.4: before anything else is made of the answer.
            let issuer = returned.issuer.as_deref();
            let is_its = match issuer {
                Some(issuer) => issuer == metadata.issuer,
                None => !metadata.names_itself,
            };
            if !is_its {
                let said = issuer.unwrap_or("no issuer");
                let detail = format!("expected: {}\nfound: {said}", metadata.issuer);
                return Err(Failure::because(Reason::LoginIssuerMismatch, detail));
            }
            let code = returned.outcome.as_ref().map_err(refused)?;
            openid::fetch_user(client, provider, open_id, &metadata, code, &pass, now).await
        }
        Protocol::GitHub(github) => {
            let code = returned.outcome.as_ref().map_err(refused)?;
            github::fetch_user(client, provider, github, code, &pass, now).await
        }
    }
}

fn goal<'k>(settings: &Settings, kept: &'k KeptGoal) -> Goal<'k> {
    match kept {
        KeptGoal::Start => Goal::Start,
        KeptGoal::Account => Goal::Account,
        KeptGoal::Page(path) => login::own_page(settings, path).map_or(Goal::Start, Goal::Page),
        KeptGoal::Authorize(query) => {
            authorization_request(query).map_or(Goal::Start, Goal::Authorize)
        }
    }
}

async fn log_in(
    sessions: Sessions<'_>,
    provider: &Provider,
    request: &Request,
    provider_user: &ProviderUser,
    goal: Goal<'_>,
    now: Timestamp,
) -> Result<Response, Refused> {
    let records = sessions.records;
    let user = person::known_or_new(records, provider, provider_user, now, &mut OsRng).await?;
    if user.disabled.is_some() {
        let detail = format!("recognised: {}", display_name(provider_user));
        let failure = Failure::because(Reason::UserDisabled, detail);
        return Err(failed(sessions.settings, provider, request, goal, failure));
    }
    log::info!(
        event = "login", user = user.id.as_str(), provider = provider.name.as_str(),
        request_id = request.request_id.as_str();
        "a person logged in with an identity provider"
    );
    let location = login::location(goal);
    let account = ProviderAccount {
        issuer: provider_user.issuer.clone(),
        subject: provider_user.profile.subject.clone(),
    };
    let opened = sessions.open_by(request, &user, provider, account, &location, now);
    let opened = opened.await?;
    Ok(audited(opened, record(&user, provider)))
}

fn record(user: &User, provider: &Provider) -> Record {
    Record {
        user: Some(user.id.as_str().to_owned()),
        detail: Some(format!("with {}", provider.name)),
        ..Record::new(Event::Login)
    }
}

/// Adds the account to the person who began this at `/account`, and still is logged in there.
async fn link(
    server: &AuthorizationServer,
    provider: &Provider,
    request: &Request,
    login: &ProviderLogin,
    provider_user: &ProviderUser,
    now: Timestamp,
) -> Result<Response, Refused> {
    let fail = |failure| failed(&server.settings, provider, request, Goal::Account, failure);
    let login_form = server.login_form();
    let session = login_form.resumed_session(request, Goal::Account, now);
    let session = session.await?;
    if login.link.as_ref() != Some(&session.user) {
        let detail = "it was begun by somebody else, who was logged in in this browser then";
        return Err(fail(Failure::because(Reason::LoginStateUnknown, detail)));
    }
    let records = &server.records;
    let identity = person::identity(provider, provider_user, None, now);
    let (issuer, subject) = (&identity.issuer, &identity.subject);
    let taken = || {
        let detail = format!("recognised: {}", display_name(provider_user));
        fail(Failure::because(Reason::IdentityTaken, detail))
    };
    let owner = records.user_of_identity(issuer, subject, now).await?;
    if owner.is_some_and(|owner| owner.id != session.user) {
        return Err(taken());
    }
    let ended = || Refused::from(login_form.after_session(request, Goal::Account));
    let user = records.user(&session.user_name, now).await?;
    let user = user.ok_or_else(ended)?;
    let with = |user: User| user.with_identity(identity.clone());
    let user = records.change_person(&user, now, with).await?;
    let user = user.ok_or_else(ended)?;
    if !records.add_identity(&identity, &user, now).await? {
        // Somebody else was first, just now.
        let without = |user: User| user.without_identity(issuer, subject);
        records.change_user(&user.name, now, without).await?;
        return Err(taken());
    }
    log::info!(
        event = "identity_linked", user = user.id.as_str(), provider = provider.name.as_str(),
        request_id = request.request_id.as_str();
        "an account at an identity provider was linked to a person"
    );
    let record = Record {
        detail: Some(format!("linked an account at {}", provider.name)),
        ..record(&user, provider)
    };
    let mut response = web::see_other(Endpoint::Account.path());
    BrowserName::from_request(&server.settings, request).keep(&server.settings, &mut response);
    Ok(audited(response, record))
}

/// Whom the provider knows and no rule lets in: whoever was let in before is not any more.
pub(super) async fn end_access_of_left(
    memberships: Memberships<'_>,
    provider: &Provider,
    identity: &Identity,
    now: Timestamp,
) -> Result<(), StoreError> {
    let records = memberships.records;
    let (issuer, subject) = (&identity.issuer, &identity.subject);
    let Some(user) = records.user_of_identity(issuer, subject, now).await? else {
        return Ok(());
    };
    // First, so that whatever fails is done at the next attempt.
    end_access(memberships, provider, &user, now).await?;
    // What the provider says now stands, so that nothing is renewed by what it said before.
    let said = |_: &Identity| identity.clone();
    person::confirm(records, &user, (issuer, subject), said, now).await?;
    Ok(())
}

/// Ends a person's browser sessions, and with `on_leave = "revoke"` what the person allowed apps.
pub(super) async fn end_access(
    memberships: Memberships<'_>,
    provider: &Provider,
    user: &User,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (records, settings) = (memberships.records, memberships.ways.settings);
    people::end_sessions(records, &user.name, now, &mut OsRng).await?;
    if provider.on_leave == OnLeave::Revoke {
        let cut = cut_off(records, settings, RevocationSubject::User(&user.id), now).await?;
        memberships.accounts.remove_all(&user.id).await?;
        if let Some(error) = &cut.unreadable {
            let reason = error.reason();
            log::error!(
                event = "left_cut_off", reason = reason, hint = reason.remedy(),
                user = user.id.as_str(), grants = cut.grants, cause:% = error;
                "what a person allowed who has left was taken back, but a record that may be theirs can't be read"
            );
        }
    }
    Ok(())
}

/// How a refusal names a person.
fn display_name(provider_user: &ProviderUser) -> String {
    let profile = &provider_user.profile;
    let address = profile.address.as_ref().map(|address| {
        if address.verified {
            address.text.clone()
        } else {
            format!("{} (not verified)", address.text)
        }
    });
    let said = [profile.name.clone(), address];
    let said: Vec<String> = said.into_iter().flatten().collect();
    if said.is_empty() {
        profile.subject.clone()
    } else {
        said.join(", ")
    }
}

/// Who was recognised, and what each rule lacks.
pub(super) fn refusal_detail(
    provider: &Provider,
    provider_user: &ProviderUser,
    lacking: &[(&AllowRule, Missing)],
) -> String {
    let (words, who) = (&provider.words, display_name(provider_user));
    let mut lines = vec![format!("{words} recognised: {who}")];
    if lacking.is_empty() {
        lines.push("no rule lets anybody in yet: login.allow is empty".to_owned());
    }
    let is_named = |rule: &AllowRule| !matches!(rule, AllowRule::Address(_));
    let (named, addresses): (Vec<_>, Vec<_>) = lacking.iter().partition(|(rule, _)| is_named(rule));
    let named = named.iter();
    lines.extend(named.map(|(rule, missing)| format!("rule {rule}: {missing}")));
    // Who else may come in is nobody's business.
    let mut all = addresses.iter();
    let unverified = all.find(|(_, missing)| *missing == Missing::Unverified);
    if let Some((_, missing)) = unverified.or(addresses.first()) {
        lines.push(format!("rules for single addresses: {missing}"));
    }
    lines.join("\n")
}
