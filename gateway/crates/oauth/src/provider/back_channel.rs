//! `POST /login/NAME/backchannel`: the provider says that somebody logged out there (OpenID Connect
//! Back-Channel Logout 1.0). It takes access away, so it never waits for the audit log.

use http::StatusCode;
use http::header::CACHE_CONTROL;
use serde_json::{Value, json};

use super::callback::end_access;
use super::failure::Failure;
use super::id_token::{self, Expected};
use super::openid::verify_with_keys;
use super::renewal::Memberships;
use super::settings::{OnLeave, Protocol, Provider};
use crate::audited::audited;
use crate::server::AuthorizationServer;
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::form::{Form, has_media_type};
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_store::User;

/// `POST /login/NAME/backchannel`.
pub(super) async fn answer(
    server: &AuthorizationServer,
    provider: &Provider,
    request: &Request,
    now: Timestamp,
) -> Response {
    match log_out(server, provider, request, now).await {
        Ok(user) => {
            let response = web::with_header(web::empty(StatusCode::OK), CACHE_CONTROL, "no-store");
            let Some(user) = user else { return response };
            log::info!(
                event = "logout", user = user.id.as_str(), provider = provider.name.as_str(),
                revoked = provider.on_leave == OnLeave::Revoke, request_id = request.request_id.as_str();
                "an identity provider logged a person out"
            );
            let record = Record {
                user: Some(user.id.as_str().to_owned()),
                detail: Some(format!("every browser, by {}", provider.name)),
                ..Record::new(Event::Logout)
            };
            audited(response, record)
        }
        Err(failure) => refuse(provider, request, failure),
    }
}

async fn log_out(
    server: &AuthorizationServer,
    provider: &Provider,
    request: &Request,
    now: Timestamp,
) -> Result<Option<User>, Failure> {
    let invalid = |said: &str| Failure::because(Reason::LogoutTokenInvalid, said);
    let Protocol::OpenId(open_id) = &provider.protocol else {
        return Err(invalid("this provider has none"));
    };
    if !has_media_type(&request.headers, "application/x-www-form-urlencoded") {
        return Err(invalid("it is sent as a form"));
    }
    let form = Form::parse(&request.body).map_err(|error| invalid(&error.to_string()))?;
    let token = form.one("logout_token").ok().flatten();
    let token = token.ok_or_else(|| invalid("there is no logout_token"))?;
    let metadata = server.providers.metadata(open_id, now).await?;
    let expected = Expected {
        issuer: &metadata.issuer,
        client_id: &provider.client_id,
        now,
    };
    let verify = |keys: &_| id_token::verify_logout(token, keys, expected);
    let claims = verify_with_keys(&server.providers, &metadata, now, verify).await?;
    let id = claims.additional_claims().0.get("jti");
    let token = LogoutToken {
        issuer: claims.issuer().as_str(),
        subject: claims.subject().as_str(),
        id: id.and_then(Value::as_str).unwrap_or_default(),
        ends: id_token::moment(claims.expiration()),
    };
    token.carry_out(server.memberships(), provider, now).await
}

/// What a logout token says, verified.
struct LogoutToken<'a> {
    issuer: &'a str,
    subject: &'a str,
    /// Its `jti`.
    id: &'a str,
    ends: Timestamp,
}

impl LogoutToken<'_> {
    /// Ends what the person has; the person, if there is one here. The token is used up last: whatever
    /// fails before, the provider sends it again, and to end it all twice is no harm.
    async fn carry_out(
        &self,
        memberships: Memberships<'_>,
        provider: &Provider,
        now: Timestamp,
    ) -> Result<Option<User>, Failure> {
        let (issuer, records) = (self.issuer, memberships.records);
        // Sent again later it would end what began since.
        if records.was_logged_out(issuer, self.id, now).await? {
            let said = "it was sent before";
            return Err(Failure::because(Reason::LogoutTokenInvalid, said));
        }
        let user = records.user_of_identity(issuer, self.subject, now).await?;
        if let Some(user) = &user {
            end_access(memberships, provider, user, now).await?;
        }
        records
            .first_logout(issuer, self.id, self.ends, now)
            .await?;
        Ok(user)
    }
}

fn refuse(provider: &Provider, request: &Request, failure: Failure) -> Response {
    let (reason, detail, is_fault) = match failure.explained() {
        Err(error) => (error.reason(), error.to_string(), true),
        Ok((reason, detail)) => (reason, detail, Failure::status(reason).is_server_error()),
    };
    Failure::log(
        "logout_refused",
        provider,
        reason,
        &detail,
        Some(request),
        None,
    );
    let status = if is_fault {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::BAD_REQUEST
    };
    let said = detail.lines().next().unwrap_or_default();
    let body = json!({
        "error": if is_fault { "temporarily_unavailable" } else { "invalid_request" },
        "error_description": format!("{} {said}", reason.sentence()),
    });
    let response = web::json(status, &body);
    let response = if is_fault {
        web::with_retry_after(response, 2)
    } else {
        response
    };
    audited(response, Record::refused(Event::Logout, reason, is_fault))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::provider::examples::{ISSUER, NOW, identity, person, provider};
    use gateway_store::{Key, Memory, Records, Store as _};

    #[tokio::test]
    async fn a_logout_that_met_a_fault_is_carried_out_when_it_is_sent_again_and_then_no_more() {
        let store = Arc::new(Memory::new());
        let server = AuthorizationServer {
            records: Records::new(Arc::clone(&store) as Arc<_>),
            ..crate::tests::server()
        };
        let (corp, alice) = (provider("*"), person("", &[]));
        assert!(server.records.add_user(&alice, NOW).await.unwrap());
        let corps = identity(&[]);
        let added = server.records.add_identity(&corps, &alice, NOW).await;
        assert!(added.unwrap());
        let key = Key::user(&alice.name);
        let good = store.get(&key, NOW).await.unwrap().unwrap();
        let token = LogoutToken {
            issuer: ISSUER,
            subject: "s",
            id: "j",
            ends: NOW + std::time::Duration::from_secs(60),
        };
        store.put(&key, b"unreadable", None).await.unwrap();
        let failed = token.carry_out(server.memberships(), &corp, NOW).await;
        assert!(matches!(failed, Err(Failure::Store(_))), "{failed:?}");
        store.put(&key, &good, None).await.unwrap();
        let done = token
            .carry_out(server.memberships(), &corp, NOW)
            .await
            .unwrap();
        assert_eq!(done.map(|user| user.id), Some(alice.id.clone()));
        let after = server.records.user(&alice.name, NOW).await.unwrap();
        assert_ne!(after.unwrap().credential(), alice.credential());
        let again = token.carry_out(server.memberships(), &corp, NOW).await;
        let Err(Failure::Because(reason, _)) = again else {
            panic!("{again:?}");
        };
        assert_eq!(reason, Reason::LogoutTokenInvalid);
    }
}
