//! `/revoke`: token revocation (RFC 7009). A client ends its own grant with any of its tokens.

use http::StatusCode;
use http::header::CACHE_CONTROL;

use crate::access_token::{self, LEEWAY, VerifiedToken};
use crate::audit::{Event, Record};
use crate::client::Client;
use crate::clock::Timestamp;
use crate::grants::GrantId;
use crate::oauth::audited::audited;
use crate::oauth::client_authentication::{authenticate, form, malformed};
use crate::oauth::{AuthorizationServer, outcome};
use crate::protocol::bearer::BearerToken;
use crate::protocol::form::Form;
use crate::protocol::oauth::{ErrorCode, OAuthError};
use crate::protocol::web::{self, Request, Response};
use crate::reason::Reason;
use crate::store::StoreError;

/// `POST /revoke`. 200 without a body, also for a token that is unknown or another client's: there
/// is nothing that the client could do about it (RFC 7009 §2.2).
pub(super) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Response {
    let form = match form(request) {
        Ok(form) => form,
        Err(error) => return outcome::refused("revocation_refused", request, None, &error),
    };
    let claimed = form.one("client_id").ok().flatten();
    match revoke(server, request, &form, now).await {
        Ok(outcome) => {
            outcome.log(request);
            let response = web::with_header(web::empty(StatusCode::OK), CACHE_CONTROL, "no-store");
            outcome.audited(response)
        }
        Err(error) => outcome::refused("revocation_refused", request, claimed, &error),
    }
}

struct Outcome {
    client: Client,
    token: Option<VerifiedToken>,
    revoked: bool,
}

async fn revoke(
    server: &AuthorizationServer,
    request: &Request,
    form: &Form,
    now: Timestamp,
) -> Result<Outcome, OAuthError> {
    let client = authenticate(server, request, form, now).await?;
    let presented = form.one("token").map_err(malformed)?.ok_or_else(|| {
        OAuthError::described(
            ErrorCode::InvalidRequest,
            Reason::RequestMalformed,
            "The parameter token is missing.",
        )
    })?;
    let token = BearerToken::parse_token(presented)
        .and_then(|bearer| access_token::verify(&bearer, &server.keys).ok());
    let own = token
        .as_ref()
        .is_some_and(|token| token.claims().client == client.id);
    if let (true, Some(token)) = (own, &token) {
        let claims = token.claims();
        end_grant(server, &claims.grant, claims.expires, now)
            .await
            .map_err(|error| OAuthError::fault(Reason::StoreUnavailable, error))?;
    }
    Ok(Outcome {
        client,
        token,
        revoked: own,
    })
}

/// Revokes a grant for as long as any of its tokens could live: `last_token_ends`, or what the
/// grant itself says if that is later. Asked again it adds nothing, so that nobody can fill the
/// list of revocations with one grant.
pub(super) async fn end_grant(
    server: &AuthorizationServer,
    id: &GrantId,
    last_token_ends: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let records = &server.records;
    let grant = records.grant(id, now).await?;
    let until = grant
        .as_ref()
        .map_or(last_token_ends, |grant| grant.expires.max(last_token_ends))
        + 2 * LEEWAY;
    // Without a record the grant was ended before, or it is being made this moment by the request
    // that a replay races with: that one must find it revoked.
    let pending = grant.is_some() || records.once(&format!("ended/{id}"), until, now).await?;
    if pending {
        records.revoke_grant(id, until, now).await?;
    }
    Ok(())
}

impl Outcome {
    /// What was ended; a token that is unknown or another client's ends nothing.
    fn audited(&self, response: Response) -> Response {
        let Some(token) = self.token.as_ref().filter(|_| self.revoked) else {
            return response;
        };
        let claims = token.claims();
        let record = Record {
            user: Some(claims.user.as_str().to_owned()),
            client: Some(claims.client.as_str().to_owned()),
            grant: Some(claims.grant.as_str().to_owned()),
            token: Some(token.id().chars().take(16).collect()),
            ..Record::of(Event::Revocation)
        };
        audited(response, record)
    }

    fn log(&self, request: &Request) {
        let claims = self.token.as_ref().map(VerifiedToken::claims);
        let event = if self.revoked {
            "grant_revoked"
        } else {
            "revocation_without_effect"
        };
        log::info!(
            event = event,
            client = self.client.id.as_str(),
            grant = claims.map(|claims| claims.grant.as_str()),
            user = claims.map(|claims| claims.user.as_str()),
            token = self.token.as_ref().map(VerifiedToken::id),
            request_id = request.request_id.as_str();
            "{}",
            match (self.revoked, claims.is_some()) {
                (true, _) => "the client gave its access back",
                (false, true) => "the token is another client's",
                (false, false) => "the token is not one of ours",
            }
        );
    }
}
