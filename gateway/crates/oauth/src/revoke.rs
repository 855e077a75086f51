//! `/revoke`: token revocation (RFC 7009). A client ends its own grant with any of its tokens.
//!
//! A narrowed token ends itself alone, with what was narrowed from it: RFC 7009 §2.1 leaves open
//! what else goes with an access token, and whoever was handed a part must not be able to end the
//! whole. Nobody knows how many such tokens there are, so they are revoked within a limit; a client
//! that reaches it can still end the grant.
//!
//! A personal token, and what was narrowed from one, has no client: whoever holds it ends it.

use std::time::Duration;

use http::StatusCode;
use http::header::CACHE_CONTROL;

use crate::audited::audited;
use crate::client_authentication::{authenticate, form, required};
use crate::error_response;
use crate::revoke_all::REMEMBERED;
use crate::server::{AuthorizationServer, Settings};
use crate::withheld;
use gateway_core::access_token::{self, LEEWAY, VerifiedToken};
use gateway_core::audit::{Event, Record};
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::personal::PersonalToken;
use gateway_core::grants::refresh_token::{Presenter, RefreshToken};
use gateway_core::grants::{Grant, GrantId, UserId};
use gateway_core::protocol::bearer::BearerToken;
use gateway_core::protocol::form::Form;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::TagKey;
use gateway_store::journal::Journal;
use gateway_store::{CountKey, Key, Records, Revoked, StoreError};

/// `POST /revoke`. 200 without a body, also for a token that is unknown or another client's: there
/// is nothing that the client could do about it (RFC 7009 §2.2).
pub(super) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Response {
    let refused = |client, error: &OAuthError| {
        error_response::refused("revocation_refused", request, client, error)
    };
    let form = match form(request) {
        Ok(form) => form,
        Err(error) => return refused(None, &error),
    };
    let claimed = form.one("client_id").ok().flatten();
    let token = form.one("token").ok().flatten().map(str::trim);
    let done = web::with_header(web::empty(StatusCode::OK), CACHE_CONTROL, "no-store");
    // Whoever holds a personal token may end it, without being an app: whoever finds one that leaked, too.
    if let Some(token) = token.filter(|token| PersonalToken::is_meant(token)) {
        let Some(token) = PersonalToken::parse(token) else {
            return done;
        };
        let (tags, records, settings) = (&server.tags, &server.records, &server.settings);
        return match end_held(tags, records, settings, &token, now).await {
            Ok(Some(record)) => audited(done, record),
            Ok(None) => done,
            Err(error) => refused(None, &error.into()),
        };
    }
    let verified = token.and_then(|token| access_token_subject(server, token, now));
    match revoke(server, request, &form, verified, now).await {
        Ok(outcome) => {
            outcome.log(request);
            outcome.audited(done)
        }
        Err(error) => refused(claimed, &error),
    }
}

/// Takes back the grant of a personal token that somebody holds, if it is one of ours.
pub async fn end_held(
    tags: &TagKey,
    records: &Records,
    settings: &Settings,
    token: &PersonalToken,
    now: Timestamp,
) -> Result<Option<Record>, StoreError> {
    if !token.is_ours(tags) {
        return Ok(None);
    }
    let id = token.grant();
    // Whoever presents it again and again costs the store nothing.
    if records.view().is_some_and(|view| view.is_revoked(&id)) {
        return Ok(None);
    }
    let grant = records.grant(&id, now).await?;
    let is_it = |grant: &Grant| grant.personal.as_ref().is_some_and(|kept| token.is(kept));
    match grant.filter(is_it) {
        Some(grant) => take_back(records, settings, &grant, now).await.map(Some),
        None => Ok(None),
    }
}

/// Narrowed tokens of one grant that may be revoked in [`WINDOW`].
const NARROWED: u64 = 200;
const WINDOW: Duration = Duration::from_secs(3600);

const NARROWED_ONLY: &str = "a narrowed token, and what was narrowed from it";

struct Outcome {
    /// Who asked, or whose token says enough.
    client: ClientId,
    token: Option<TokenSubject>,
    revoked: bool,
}

/// What a token names, whatever kind it is: `token_type_hint` may be wrong and is not needed, for
/// the forms differ (RFC 7009 §2.1).
struct TokenSubject {
    grant: GrantId,
    client: ClientId,
    user: UserId,
    last_token_ends: Timestamp,
    /// The access token's name in the log.
    id: Option<String>,
    narrowed: Option<Narrowed>,
}

impl TokenSubject {
    /// Whether it was narrowed from what a personal token was exchanged for: no app stands behind it, so
    /// whoever holds it may end it as they may the personal token.
    fn is_a_holders(&self) -> bool {
        self.narrowed.is_some() && self.client.as_str() == ClientId::PERSONAL_TOKEN
    }
}

/// A token that somebody narrowed.
struct Narrowed {
    /// The revocation id of its last block.
    id: String,
    /// Until when its revocation has to be remembered. `None` if there is nothing left to end.
    until: Option<Timestamp>,
}

/// Until when the revocation of an access token has to be remembered: for as long as it, or a stream
/// that was opened with it, may go on. `None` if neither can any more. A token that a holder
/// narrowed in time takes its streams along when it ends (`proxy::lifetime`).
pub fn remembered_until(
    settings: &Settings,
    token: &VerifiedToken,
    now: Timestamp,
) -> Option<Timestamp> {
    let stream = match token.attenuation().ends() {
        Some(_) => Duration::ZERO,
        None => settings.longest_stream(),
    };
    let last = token.ends() + stream + LEEWAY;
    (now < last).then(|| token.ends().max(now + stream) + LEEWAY)
}

async fn revoke(
    server: &AuthorizationServer,
    request: &Request,
    form: &Form,
    verified: Option<TokenSubject>,
    now: Timestamp,
) -> Result<Outcome, OAuthError> {
    let client = match verified.as_ref().filter(|token| token.is_a_holders()) {
        Some(token) => token.client.clone(),
        None => authenticate(server, request, form, now).await?.id,
    };
    let presented = required(form, "token")?.trim();
    let (settings, records) = (&server.settings, &server.records);
    let token = match verified {
        Some(token) => Some(token),
        None => refresh_token_subject(records, &server.tags, presented, now).await?,
    };
    let own = token.as_ref().filter(|token| token.client == client);
    match own {
        Some(TokenSubject {
            narrowed: Some(narrowed),
            grant,
            ..
        }) => end_narrowed(records, narrowed, grant, now).await?,
        Some(token) => {
            end_grant(records, settings, &token.grant, token.last_token_ends, now).await?;
        }
        None => {}
    }
    Ok(Outcome {
        revoked: own.is_some(),
        client,
        token,
    })
}

/// What a refresh token names, if it is one of ours: exchanged or good.
async fn refresh_token_subject(
    records: &Records,
    tags: &TagKey,
    presented: &str,
    now: Timestamp,
) -> Result<Option<TokenSubject>, StoreError> {
    let Some(token) = RefreshToken::parse(presented) else {
        return Ok(None);
    };
    let kept = records.kept_grant(&token.grant, now).await?;
    Ok(kept
        .map(|kept| kept.grant)
        .filter(|grant| token.prove(grant, Presenter::owner(grant), tags).is_ok())
        .map(|grant| TokenSubject {
            grant: grant.id,
            client: grant.client,
            user: grant.user,
            last_token_ends: grant.expires,
            id: None,
            narrowed: None,
        }))
}

/// What an access token names, if it is one of ours: expired or good.
fn access_token_subject(
    server: &AuthorizationServer,
    presented: &str,
    now: Timestamp,
) -> Option<TokenSubject> {
    let bearer = BearerToken::parse_token(presented)?;
    let token = access_token::verify(&bearer, &server.keys.current()).ok()?;
    let claims = token.claims();
    let view = server.records.view();
    let is_over = view.is_some_and(|view| view.revokes(&token));
    let narrowed = token.ids().split_first().and_then(|(_, appended)| {
        Some(Narrowed {
            id: appended.last()?.clone(),
            until: remembered_until(&server.settings, &token, now).filter(|_| !is_over),
        })
    });
    Some(TokenSubject {
        grant: claims.grant.clone(),
        client: claims.client.clone(),
        user: claims.user.clone(),
        last_token_ends: claims.expires,
        id: Some(token.id().to_owned()),
        narrowed,
    })
}

async fn end_narrowed(
    records: &Records,
    narrowed: &Narrowed,
    grant: &GrantId,
    now: Timestamp,
) -> Result<(), OAuthError> {
    let Some(until) = narrowed.until else {
        return Ok(());
    };
    let key = CountKey::attenuated_revocations(grant);
    if records.count(&key, WINDOW, now).await? > NARROWED {
        return Err(OAuthError::new(ErrorCode::SlowDown, Reason::RateLimited));
    }
    let what = Revoked::Token(narrowed.id.clone());
    Ok(records.revoke(&what, until, now).await?)
}

/// Takes a grant back for good, for a person or the operator: its tokens, what was narrowed from them
/// and its refresh tokens count no more on any replica, and its streams end. Durable when this
/// returns. The record is for the caller to enter or to attach to its answer.
pub async fn take_back(
    records: &Records,
    settings: &Settings,
    grant: &Grant,
    now: Timestamp,
) -> Result<Record, StoreError> {
    withheld::withhold(records, settings, grant, now).await?;
    end_grant(records, settings, &grant.id, grant.expires, now).await?;
    log::info!(
        event = "grant_revoked", client = grant.client.as_str(), grant = grant.id.as_str(),
        user = grant.user.as_str();
        "access was taken back"
    );
    Ok(Record {
        user: Some(grant.user.as_str().to_owned()),
        client: Some(grant.client.as_str().to_owned()),
        grant: Some(grant.id.as_str().to_owned()),
        ..Record::new(Event::Revocation)
    })
}

/// Takes back a grant whose record can't be read, by its id alone. That takes the record away, too.
pub async fn take_back_unread(
    records: &Records,
    settings: &Settings,
    id: &GrantId,
    now: Timestamp,
) -> Result<Record, StoreError> {
    end_grant(records, settings, id, now, now).await?;
    log::info!(
        event = "grant_revoked", grant = id.as_str();
        "access was taken back; whose it was could not be read"
    );
    Ok(Record {
        grant: Some(id.as_str().to_owned()),
        ..Record::new(Event::Revocation)
    })
}

/// Revokes a grant for as long as any of its tokens could live: `last_token_ends`, or what the
/// grant itself says if that is later. Asked again it adds nothing, so that nobody can fill the
/// list of revocations with one grant.
pub(crate) async fn end_grant(
    records: &Records,
    settings: &Settings,
    id: &GrantId,
    last_token_ends: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let recorded = match records.grant(id, now).await {
        // It may live for as long as anything does, and is to be revoked all the same.
        Err(StoreError::Corrupt(_)) => Some(now + REMEMBERED),
        grant => grant?.map(|grant| grant.expires),
    };
    // A refresh may just be giving a token that the record as we read it does not know of.
    let given_now = now + settings.longest_use();
    let until = last_token_ends.max(recorded.unwrap_or(now)).max(given_now) + 2 * LEEWAY;
    // Without a record the grant was ended before, or is just being made: whoever makes it must
    // find it revoked.
    let pending = recorded.is_some() || records.once(&Key::ended_grant(id), until, now).await?;
    if pending {
        records.revoke_grant(id, until, now).await?;
    }
    Ok(())
}

/// What was used again that may be used once, and whose it was.
pub(super) struct Reused<'a> {
    pub(super) reason: Reason,
    pub(super) grant: &'a GrantId,
    pub(super) client: &'a ClientId,
    pub(super) user: &'a UserId,
    pub(super) last_token_ends: Timestamp,
}

/// Ends the grant of a code or refresh token that was used again (OAuth 2.1 §4.3.1, §7.5.2). The
/// revocation is a record of its own, under the person's name: the refusal of the request that
/// caused it is one of many that a stranger can provoke.
pub(super) async fn end_reused(
    records: &Records,
    settings: &Settings,
    journal: &Journal,
    reused: Reused<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    end_grant(records, settings, reused.grant, reused.last_token_ends, now).await?;
    let (client, user) = (reused.client.as_str(), reused.user.as_str());
    let (reason, grant) = (reused.reason, reused.grant.as_str());
    log::warn!(
        event = "grant_revoked", reason = reason, hint = reason.remedy(),
        client = client, grant = grant, user = user; "{}", reason.sentence()
    );
    let record = Record {
        reason: Some(reason),
        user: Some(user.to_owned()),
        client: Some(client.to_owned()),
        grant: Some(grant.to_owned()),
        ..Record::new(Event::Revocation)
    };
    // Access was taken back whether or not it can be written down; a failing log is told elsewhere.
    let _ = journal.append_durable(record).await;
    Ok(())
}

impl Outcome {
    /// What was ended; a token that is unknown or another client's ends nothing.
    fn audited(&self, response: Response) -> Response {
        let Some(token) = self.token.as_ref().filter(|_| self.revoked) else {
            return response;
        };
        let named = token.narrowed.as_ref().map(|narrowed| &narrowed.id);
        let named = named.or(token.id.as_ref());
        let record = Record {
            user: Some(token.user.as_str().to_owned()),
            client: Some(token.client.as_str().to_owned()),
            grant: Some(token.grant.as_str().to_owned()),
            token: named.map(|id| id.chars().take(16).collect()),
            detail: token.narrowed.as_ref().map(|_| NARROWED_ONLY.to_owned()),
            ..Record::new(Event::Revocation)
        };
        audited(response, record)
    }

    fn log(&self, request: &Request) {
        let token = self.token.as_ref();
        let narrowed = token.and_then(|token| token.narrowed.as_ref());
        let event = match (self.revoked, narrowed) {
            (true, None) => "grant_revoked",
            (true, Some(_)) => "token_revoked",
            (false, _) => "revocation_without_effect",
        };
        log::info!(
            event = event, client = self.client.as_str(),
            grant = token.map(|token| token.grant.as_str()), user = token.map(|token| token.user.as_str()),
            token = token.and_then(|token| token.id.as_deref()),
            narrowed = narrowed.map(|narrowed| narrowed.id.as_str()),
            request_id = request.request_id.as_str();
            "{}",
            match (self.revoked, token.is_some()) {
                (true, _) if narrowed.is_some() => NARROWED_ONLY,
                (true, _) => "the client gave its access back",
                (false, true) => "the token is another client's",
                (false, false) => "the token is not one of ours",
            }
        );
    }
}
