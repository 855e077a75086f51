//! What the answer to an app on another machine does: it is kept beside what was asked, durable before the
//! person is told.

use crate::server::Settings;
use gateway_store::journal::Journal;
use http::StatusCode;
use rand::rngs::OsRng;

use crate::authorize::issue_code::keep_client;
use crate::authorize::next_step::Consented;
use crate::authorize::request::AuthorizationRequest;
use crate::browser;
use crate::error_page::Refused;
use crate::pages::{self, DeviceDone};
use gateway_core::audit::{Event, Record};
use gateway_core::client::REMEMBERED;
use gateway_core::clock::Timestamp;
use gateway_core::grants::GrantId;
use gateway_core::grants::device::{Allowed, Answer, DeviceAuthorization};
use gateway_core::protocol::web::{Request, Response};
use gateway_store::{KeptDevice, Records, StoreError, unless_conflict};

use std::time::Duration;

/// The app has this time to come for what a person allowed: twelve questions. Until it has, nothing of it
/// stands at `/account`, so it is short.
const TO_FETCH: Duration = Duration::from_secs(60);

/// Keeps that the person allowed it. The page that follows says what counts, also where somebody was
/// faster.
pub(crate) async fn allow(
    settings: &Settings,
    records: &Records,
    journal: &Journal,
    request: &Request,
    consented: Consented,
    kept: &KeptDevice,
    now: Timestamp,
) -> Result<Response, Refused> {
    let Consented {
        session,
        asked,
        tools,
        code: _,
    } = consented;
    let allowed = Allowed {
        grant: GrantId::draw(&mut OsRng),
        user: session.user,
        user_name: session.user_name,
        tools,
        at: now,
    };
    let until = now + settings.longest_token() + REMEMBERED;
    keep_client(records, asked.client(), &allowed.user, until, now).await?;
    let record = Record {
        user: Some(allowed.user.as_str().to_owned()),
        client: Some(kept.asked.client.as_str().to_owned()),
        grant: Some(allowed.grant.as_str().to_owned()),
        backend: Some(asked.mount().name.clone()),
        detail: Some(format!(
            "scope {}; tools {}; asked from {}",
            kept.asked.scope,
            allowed.tools.in_words(),
            kept.asked.address
        )),
        ..Record::new(Event::Consent)
    };
    // The app may come for it at once: that the person allowed it is on disk before.
    let record = record.asked_by(request.peer, &request.request_id);
    journal.append_durable(record).await?;
    let (grant, user) = (allowed.grant.clone(), allowed.user.clone());
    let answered = DeviceAuthorization {
        expires: now + TO_FETCH,
        answer: Some(Answer::Allowed(Box::new(allowed))),
        ..kept.asked.clone()
    };
    let replaced = records.answer_device(kept, &answered, now).await;
    if unless_conflict(replaced)?.is_none() {
        return Ok(said_before(records, settings, request, &asked, kept, now).await?);
    }
    log::info!(
        event = "device_allowed", client = kept.asked.client.as_str(), grant = grant.as_str(),
        user = user.as_str(), resource = kept.asked.resource.as_str(),
        request_id = request.request_id.as_str(); "a person allowed an app on another machine"
    );
    Ok(done(settings, request, &asked, &answered))
}

/// Keeps that the person denied it. The caller says so in the audit log, unless somebody was faster: then
/// it does not count.
pub(crate) async fn deny(
    records: &Records,
    settings: &Settings,
    request: &Request,
    asked: &AuthorizationRequest,
    kept: &KeptDevice,
    now: Timestamp,
) -> Result<(Response, bool), StoreError> {
    let answered = DeviceAuthorization {
        answer: Some(Answer::Denied),
        ..kept.asked.clone()
    };
    let replaced = records.answer_device(kept, &answered, now).await;
    if unless_conflict(replaced)?.is_none() {
        let page = said_before(records, settings, request, asked, kept, now).await?;
        return Ok((page, false));
    }
    Ok((done(settings, request, asked, &answered), true))
}

/// The page after an answer that came second: it says what the first one was.
async fn said_before(
    records: &Records,
    settings: &Settings,
    request: &Request,
    asked: &AuthorizationRequest,
    kept: &KeptDevice,
    now: Timestamp,
) -> Result<Response, StoreError> {
    let present = records.device(&kept.code, now).await?;
    let present = present.map_or_else(|| kept.asked.clone(), |present| present.asked);
    Ok(done(settings, request, asked, &present))
}

/// The page after the answer.
pub(crate) fn done(
    settings: &Settings,
    request: &Request,
    asked: &AuthorizationRequest,
    answered: &DeviceAuthorization,
) -> Response {
    let page = DeviceDone {
        frame: browser::frame(settings, request),
        app: asked.client().name.as_deref(),
        backend: &asked.mount().name,
        is_allowed: matches!(answered.answer, Some(Answer::Allowed(_))),
    }
    .page();
    pages::respond(StatusCode::OK, page, settings.issuer.is_https())
}
