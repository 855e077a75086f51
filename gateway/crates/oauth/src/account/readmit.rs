//! The button that lets an identity provider's word connect an app again.

use crate::audited::{audited, by};
use crate::error_page::Refused;
use crate::form_token::Purpose;
use crate::pages::{AccountNotice, Goal};
use crate::server::AuthorizationServer;
use crate::withheld::{Readmission, lift};
use gateway_core::audit::{Event, Record};
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};

use super::cards;
use super::form::pressed;
use super::view::show;

/// `POST /account/readmit`.
pub(crate) async fn submit(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let pressed = pressed(
        server.login_form(),
        request,
        Purpose::Readmit,
        &["client"],
        now,
    )
    .await?;
    let session = &pressed.session;
    let again = |notice| show(server, request, session, Some(notice));
    if pressed.made.is_none() {
        return again(AccountNotice::PageExpired).await;
    }
    let id = ClientId::new(pressed.fields[0].as_str());
    let (login_form, goal) = (server.login_form(), Goal::Account);
    let user = login_form.person(request, session, goal, now).await?;
    match lift(&server.records, &user, &id, now).await? {
        Readmission::NotWithheld => again(AccountNotice::AlreadyReadmitted).await,
        Readmission::Done(user) => {
            let client = cards::client(&server.settings, &server.records, &id, now).await?;
            let name = client.and_then(|client| client.name);
            let record = Record {
                client: Some(id.as_str().to_owned()),
                detail: Some("let in again by the person, at /account".to_owned()),
                ..by(&user.id, Event::Consent)
            };
            let response = again(AccountNotice::Readmitted(name)).await?;
            Ok(audited(response, record))
        }
    }
}
