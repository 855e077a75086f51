//! Adding a passkey to a person.

use super::{PasskeyRefusal, unseal};
use crate::browser::{Cookie, PostedForm};
use crate::form_token::{Purpose, SealError, Unsealed};
use crate::pages;
use crate::server::AuthorizationServer;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;
use gateway_store::{Passkey, StoreError, User};

/// What it is called whose person called it nothing.
const NAMELESS: &str = "Passkey";

/// A passkey that a form of ours brought, made by this browser.
#[derive(Debug)]
pub(crate) struct NewPasskey {
    pub(crate) passkey: Passkey,
    pub(crate) unsealed: Unsealed,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum NotMade {
    /// The form is not from a page of this browser, or is too old.
    Seal(SealError),
    /// The answer is not taken.
    Refused(PasskeyRefusal),
}

/// The passkey in a form whose seal is over `about`.
pub(crate) fn registered(
    server: &AuthorizationServer,
    request: &Request,
    form: &PostedForm,
    (purpose, about): (Purpose, &str),
    now: Timestamp,
) -> Result<NewPasskey, NotMade> {
    let browser = Cookie::Browser
        .read(&server.settings, request)
        .unwrap_or_default();
    let state = form.field("state");
    let sealed = form.field("passkey_seal");
    let unsealed = unseal(server, purpose, (browser, about, state), sealed, now);
    let unsealed = unsealed.map_err(NotMade::Seal)?;
    let name = pages::clean(form.field("passkey_name").trim(), Passkey::LONGEST_NAME);
    let name = if name.is_empty() { NAMELESS } else { &name };
    let answer = form.field("credential");
    let made = server
        .passkeys
        .finish_registration(state, answer, name, now);
    let passkey = made.map_err(NotMade::Refused)?;
    Ok(NewPasskey { passkey, unsealed })
}

/// Adds it. The person as they are now; or why it is not theirs.
pub(crate) async fn add(
    server: &AuthorizationServer,
    user: &User,
    passkey: &Passkey,
    now: Timestamp,
) -> Result<Result<User, Reason>, StoreError> {
    let records = &server.records;
    let refused = |reason| Ok(Err(reason));
    if user.passkey(&passkey.id).is_some() {
        return refused(Reason::PasskeyTaken);
    }
    if records.user_of_passkey(&passkey.id, now).await?.is_some() {
        return refused(Reason::PasskeyTaken);
    }
    let change = |present: User| {
        let fits = present.id == user.id && present.passkeys.len() < Passkey::MOST;
        if fits && present.passkey(&passkey.id).is_none() {
            present.with_passkey(passkey.clone())
        } else {
            present
        }
    };
    let changed = records.change_user(&user.name, now, change).await?;
    let Some(changed) = changed.filter(|changed| changed.id == user.id) else {
        return refused(Reason::PasskeyUnknown);
    };
    if changed.passkey(&passkey.id) != Some(passkey) {
        return refused(Reason::PasskeysFull);
    }
    // The record says so first: a way to somebody who does not have it leads nowhere.
    if !records.add_passkey(&passkey.id, &changed, now).await? {
        let without = |present: User| present.without_passkey(&passkey.id);
        records.change_user(&user.name, now, without).await?;
        return refused(Reason::PasskeyTaken);
    }
    Ok(Ok(changed))
}
