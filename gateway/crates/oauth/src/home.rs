//! `/`: what this is and which URL to give to which app. And `/assets/…`.

use http::StatusCode;

use crate::browser::{self, BrowserName};
use crate::pages::{self, Home, MountUrls};
use crate::session;
use crate::ways_in::WaysIn;
use gateway_core::clock::Clock;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::TagKey;
use gateway_store::Records;

/// `GET /`. Answers also while the store does not: the URLs are worth having.
pub async fn page(
    ways: WaysIn<'_>,
    records: &Records,
    tags: &TagKey,
    clock: Clock,
    request: &Request,
) -> Response {
    let now = clock.now();
    let settings = ways.settings;
    let has_users = records.has_users(now).await;
    let session = session::current_session(ways, records, request, now)
        .await
        .ok()
        .flatten();
    let browser = BrowserName::from_request(ways.settings, request);
    let person = session.map(|(_, session)| {
        let seal = session::log_out_seal(tags, &browser, &session, now);
        (session.user_name, seal)
    });
    let page = Home {
        frame: browser::frame(ways.settings, request),
        mounts: settings
            .mounts
            .iter()
            .map(|mount| MountUrls {
                name: mount.name.clone(),
                mcp: settings.issuer.join(&mount.mcp_path()),
                sse: settings.issuer.join(&mount.sse_path()),
            })
            .collect(),
        awaits_owner: has_users.is_ok_and(|any| !any),
        loopback: settings.issuer.is_loopback(),
        person: person
            .as_ref()
            .map(|(name, seal)| (name.as_str(), seal.as_str())),
    }
    .page();
    let mut response = pages::respond(StatusCode::OK, page, settings.issuer.is_https());
    if person.is_some() {
        browser.keep(ways.settings, &mut response);
    }
    response
}

/// `GET /assets/…`: a file of the pages, named after its content.
pub fn asset(request: &Request) -> Response {
    pages::asset(&request.path)
        .unwrap_or_else(|| web::text(StatusCode::NOT_FOUND, Reason::NotFound.sentence()))
}
