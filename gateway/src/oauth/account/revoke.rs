//! The button that takes access back: one click, said on the page that follows.
//!
//! The form names the grants that the page showed. What was allowed since is not touched, however
//! often the form is sent.

use crate::audit::Record;
use crate::clock::Timestamp;
use crate::grants::{Grant, GrantId};
use crate::oauth::audited::audited;
use crate::oauth::refusal::Refused;
use crate::oauth::seal::Purpose;
use crate::oauth::{AuthorizationServer, revoke};
use crate::pages::AccountNotice;
use crate::protocol::web::{Request, Response};
use crate::store::StoreError;

use super::{Pressed, cards, pressed, show};

/// `POST /account/revoke`.
pub(in crate::oauth) async fn submit(server: &AuthorizationServer, request: &Request) -> Response {
    let now = server.clock.now();
    let pressed = match pressed(server, request, Purpose::Revoke, &["grants"], now).await {
        Ok(pressed) => pressed,
        Err(refused) => return refused.page(server, request),
    };
    let mut records = Vec::new();
    let answer = match take_back(server, &pressed, &mut records, now).await {
        Ok(notice) => show(server, request, &pressed.session, Some(notice)).await,
        Err(error) => Err(error.into()),
    };
    let response = answer.unwrap_or_else(|refused: Refused| refused.page(server, request));
    // What was taken back is written down, also if the rest failed.
    records.into_iter().fold(response, audited)
}

async fn take_back(
    server: &AuthorizationServer,
    pressed: &Pressed,
    records: &mut Vec<Record>,
    now: Timestamp,
) -> Result<AccountNotice, StoreError> {
    if !pressed.is_fresh {
        return Ok(AccountNotice::PageExpired);
    }
    let mut client = None;
    for id in pressed.fields[0].split(' ').map(GrantId::new) {
        let grant = server.records.grant(&id, now).await?;
        let own = |grant: &Grant| grant.user == pressed.session.user;
        let Some(grant) = grant.filter(own) else {
            continue;
        };
        let record = revoke::take_back(server, &grant, now).await?;
        records.push(Record {
            detail: Some("by the person, at /account".to_owned()),
            ..record
        });
        client = Some(grant.client);
    }
    match client {
        None => Ok(AccountNotice::AlreadyOver),
        Some(id) => {
            let client = cards::client(server, &id, now).await?;
            Ok(AccountNotice::Revoked(
                client.and_then(|client| client.name),
            ))
        }
    }
}
