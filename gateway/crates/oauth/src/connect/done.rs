//! What comes after an account is connected.

use super::form::ConnectGoal;
use crate::audited::audited;
use crate::browser::{self, BrowserName};
use crate::endpoint::Endpoint;
use crate::pages::{self, ConnectedPage};
use crate::server::Settings;
use gateway_accounts::Connected;
use gateway_core::audit::{Event, Record};
use gateway_core::protocol::web::{self, Request, Response};
use http::StatusCode;

/// On to where the person was going; first a page where there is something to say.
pub(super) fn answer(
    settings: &Settings,
    request: &Request,
    connected: &Connected,
    goal: &ConnectGoal,
) -> Response {
    let account = &connected.account;
    log::info!(
        event = "account_connected", backend = account.backend.as_str(),
        user = account.user.as_str(), request_id = request.request_id.as_str();
        "a person connected their account at a backend"
    );
    let is_another = connected.instead_of.is_some();
    let record = Record {
        user: Some(account.user.as_str().to_owned()),
        backend: Some(account.backend.clone()),
        detail: Some(if is_another {
            "connected, another account than before".to_owned()
        } else {
            "connected".to_owned()
        }),
        ..Record::new(Event::Account)
    };
    let mut response = match goal {
        ConnectGoal::Authorize(query) if !is_another => {
            web::see_other(&format!("{}?{query}", Endpoint::Authorize.path()))
        }
        ConnectGoal::Account if !is_another => web::see_other(Endpoint::Account.path()),
        ConnectGoal::Authorize(_) | ConnectGoal::Account | ConnectGoal::App => {
            said(settings, request, connected, goal)
        }
    };
    BrowserName::from_request(settings, request).keep(settings, &mut response);
    audited(response, record)
}

fn said(
    settings: &Settings,
    request: &Request,
    connected: &Connected,
    goal: &ConnectGoal,
) -> Response {
    let page = ConnectedPage {
        frame: browser::frame(settings, request),
        backend: &connected.account.backend,
        called: connected.account.called.as_deref(),
        instead_of: connected.instead_of.as_deref(),
        authorization_request: match goal {
            ConnectGoal::Authorize(query) => Some(query),
            ConnectGoal::Account | ConnectGoal::App => None,
        },
    }
    .page();
    pages::respond(StatusCode::OK, page, settings.issuer.is_https())
}
