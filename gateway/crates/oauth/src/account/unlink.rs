//! The button that takes an account at an identity provider off the person.

use crate::audited::{audited, by};
use crate::error_page::Refused;
use crate::form_token::Purpose;
use crate::pages::{AccountNotice, Goal};
use crate::passkey::Removed;
use crate::provider;
use crate::provider::providers::Providers;
use crate::server::AuthorizationServer;
use crate::session::current_session;
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};
use gateway_store::User;

use super::form::pressed;
use super::view::{provider_words, show};

/// `POST /account/unlink`.
pub(crate) async fn submit(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let names = ["issuer", "subject"];
    let pressed = pressed(server.login_form(), request, Purpose::Unlink, &names, now).await?;
    let session = &pressed.session;
    let again = |notice| show(server, request, session, Some(notice));
    if pressed.made.is_none() {
        return again(AccountNotice::PageExpired).await;
    }
    let account = (pressed.fields[0].as_str(), pressed.fields[1].as_str());
    let (login_form, goal) = (server.login_form(), Goal::Account);
    let user = login_form.person(request, session, goal, now).await?;
    match provider::unlink(server.ways_in(), &server.records, &user, account, now).await? {
        Removed::Done(_) => {
            let notice = AccountNotice::Unlinked(words(&server.providers, &user, account));
            let record = entry(request, &user, account);
            // The person may have come by that very account.
            let response =
                match current_session(server.ways_in(), &server.records, request, now).await? {
                    Some(_) => again(notice).await?,
                    None => server.login_form().after_session(request, Goal::Account),
                };
            Ok(audited(response, record))
        }
        Removed::NotThere => again(AccountNotice::AlreadyUnlinked).await,
        Removed::LastWayIn => again(AccountNotice::LastWayIn).await,
    }
}

/// The name of the account's provider for people.
fn words(providers: &Providers, user: &User, (issuer, subject): (&str, &str)) -> String {
    let identity = user.identity(issuer, subject);
    let words = identity.map(|identity| provider_words(providers, identity).to_owned());
    words.unwrap_or_default()
}

/// One line of the log, and the record for the audit log.
fn entry(request: &Request, user: &User, (issuer, subject): (&str, &str)) -> Record {
    let identity = user.identity(issuer, subject);
    let provider = identity.map_or("", |identity| identity.provider.as_str());
    log::info!(
        event = "identity_unlinked",
        user = user.id.as_str(),
        provider = provider,
        request_id = request.request_id.as_str();
        "an account at an identity provider was taken off its person"
    );
    Record {
        detail: Some(format!("removed an account at {provider}")),
        ..by(&user.id, Event::Logout)
    }
}
