//! `/`: what this is and which URL to give to which app. And `/assets/…`.

use http::StatusCode;

use crate::browser::{self, BrowserName};
use crate::pages::{self, Home, MountUrls};
use crate::server::AuthorizationServer;
use crate::session;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;

/// `GET /`. Answers also while the store does not: the URLs are worth having.
pub(super) async fn page(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Response {
    let settings = &server.settings;
    let has_users = server.records.has_users(now).await;
    let current = session::current_session(server.ways_in(), &server.records, request, now).await;
    let session = current.ok().flatten();
    let browser = BrowserName::from_request(settings, request);
    let person = session.map(|(_, session)| {
        let seal = session::log_out_seal(&server.tags, &browser, &session, now);
        (session.user_name, seal)
    });
    let page = Home {
        frame: browser::frame(settings, request),
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
        browser.keep(settings, &mut response);
    }
    response
}

/// `GET /assets/…`: a file of the pages, named after its content.
pub(super) fn asset(request: &Request) -> Response {
    pages::asset(&request.path)
        .unwrap_or_else(|| web::text(StatusCode::NOT_FOUND, Reason::NotFound.sentence()))
}
