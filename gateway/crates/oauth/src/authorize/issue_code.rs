//! What Allow does: a code for what was consented to, durable before the browser carries it away.
//!
//! Owns: the code's record, and the client's, which must outlive it. Not: what a person consented to
//! (`consent`), what becomes of the code (`token`).

use std::time::Duration;

use rand::rngs::OsRng;

use crate::audited::audited;
use crate::authorize::next_step::Consented;
use crate::authorize::request::{AuthorizationRequest, Callback};
use crate::server::Settings;
use gateway_core::audit::{Event, Record};
use gateway_core::client::{Allowed, Client, REMEMBERED, Registration};
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::grants::authorization_code::{self, AuthorizationCode};
use gateway_core::grants::{GrantId, UserId};
use gateway_core::protocol::pkce::CodeChallenge;
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, SecretHash};
use gateway_store::{Records, StoreError, TakenCode};

/// When an app that has not redeemed its code never will.
const PATIENCE: Duration = Duration::from_secs(120);

/// What Allow does: a code for what was consented to, durable before the browser carries it away.
pub(crate) async fn issue_code(
    settings: &Settings,
    records: &Records,
    clock: Clock,
    request: &Request,
    consented: Consented,
    (callback, code_challenge): (Callback, CodeChallenge),
    now: Timestamp,
) -> Result<Response, StoreError> {
    let Consented {
        session,
        asked,
        tools,
        code: secret,
    } = consented;
    let code = AuthorizationCode {
        grant: GrantId::draw(&mut OsRng),
        client: asked.client().id.clone(),
        client_fingerprint: asked.client().fingerprint(),
        redirect_uri: callback.redirect_uri().as_str().to_owned(),
        code_challenge,
        resource: asked.resource().clone(),
        scope: asked.scope().clone(),
        tools,
        user: session.user,
        user_name: session.user_name,
        issued: now,
        expires: now + authorization_code::LIFETIME,
    };
    if !keep(settings, records, &asked, &secret, &code, now).await? {
        // The same press came twice, and the other one was faster: it has been written down.
        return Ok(callback.granted(&secret));
    }
    log::info!(
        event = "code_issued",
        client = code.client.as_str(),
        grant = code.grant.as_str(),
        user = code.user.as_str(),
        resource = code.resource.as_str(),
        scope:% = code.scope,
        request_id = request.request_id.as_str();
        "a person allowed a client; it has {} s to redeem the code",
        authorization_code::LIFETIME.as_secs()
    );
    let record = Record {
        user: Some(code.user.as_str().to_owned()),
        client: Some(code.client.as_str().to_owned()),
        grant: Some(code.grant.as_str().to_owned()),
        backend: Some(asked.mount().name.clone()),
        detail: Some(format!(
            "scope {}; tools {}",
            code.scope,
            code.tools.in_words()
        )),
        ..Record::new(Event::Consent)
    };
    tokio::spawn(watch(records.clone(), secret.hash(), code, clock));
    Ok(audited(callback.granted(&secret), record))
}

/// Tells the operator when an app never came for its code: the person saw an error of the app, and
/// nothing else here would show it.
async fn watch(records: Records, hash: SecretHash, code: AuthorizationCode, clock: Clock) {
    tokio::time::sleep(PATIENCE).await;
    // The code is past its time, so that taking it only asks whether anybody did.
    if let Ok(TakenCode::Fresh(_)) = records.take_code(&hash, clock.now()).await {
        log::warn!(
            event = "authorization_unused",
            reason = Reason::CodeNeverRedeemed,
            hint = Reason::CodeNeverRedeemed.remedy(),
            client = code.client.as_str(),
            grant = code.grant.as_str(),
            user = code.user.as_str();
            "{}", Reason::CodeNeverRedeemed.sentence()
        );
    }
}

/// `false` if the code is there already. The client is kept first, for as long as anything lives that
/// comes from this code: a grant must never outlive its client.
async fn keep(
    settings: &Settings,
    records: &Records,
    asked: &AuthorizationRequest,
    secret: &Secret,
    code: &AuthorizationCode,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let remember_code = code.remember_until(settings.longest_token());
    let remember_client = remember_code.max(now + REMEMBERED);
    keep_client(records, asked.client(), &code.user, remember_client, now).await?;
    records
        .add_code(&secret.hash(), code, remember_code, now)
        .await
}

/// Keeps a client that a person allows something, and what it is now.
pub(crate) async fn keep_client(
    records: &Records,
    client: &Client,
    user: &UserId,
    until: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    match client.registration {
        // What the configuration says of a client is asked anew each time.
        Registration::PreRegistered => {}
        // One that the operator removed meanwhile stays removed.
        Registration::SelfRegistered => {
            records.extend_client(&client.id, until, now).await?;
        }
        Registration::MetadataDocument => {
            records.keep_client(client, until, now).await?;
        }
    }
    if let Some(allowed) = Allowed::now(client, now) {
        records
            .put_allowed(user, &client.id, &allowed, until, now)
            .await?;
    }
    Ok(())
}
