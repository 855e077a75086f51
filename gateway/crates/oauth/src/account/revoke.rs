//! The button that takes access back: one click, said on the page that follows.
//!
//! The form names the grants that the page showed. What was allowed since is not touched, however
//! often the form is sent. If nothing of the app is left by it, a code that was out when the page was
//! made goes too: nobody who revokes an app expects it back within the minute.

use std::time::Duration;

use crate::audited::audited;
use crate::error_page::Refused;
use crate::form_token::Purpose;
use crate::pages::AccountNotice;
use crate::revoke;
use crate::server::{AuthorizationServer, Settings};
use gateway_core::access_token::LEEWAY;
use gateway_core::audit::Record;
use gateway_core::browser_session::BrowserSession;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::{GrantId, UserId};
use gateway_core::protocol::web::{Request, Response};
use gateway_store::{GrantsOf, Records, StoreError};

use super::cards;
use super::form::{SubmittedForm, pressed};
use super::view::show;

/// For so long a button that is pressed again says the same.
const DOUBLE: Duration = Duration::from_secs(60);

/// How often, and how far apart, it is looked for the first press.
const LOOKS: usize = 6;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// `POST /account/revoke`.
pub(crate) async fn submit(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let done = press(server, request, now).await?;
    let answered = match done.notice {
        Ok(notice) => show(server, request, &done.session, Some(notice)).await,
        Err(error) => Err(error.into()),
    };
    Ok(with_records(server, request, answered, done.records))
}

/// What a pressed button has done.
pub(super) struct PressedRevoke {
    pub(super) session: BrowserSession,
    /// What to say.
    pub(super) notice: Result<AccountNotice, StoreError>,
    /// Of what was taken back, also where the rest failed.
    pub(super) records: Vec<Record>,
}

/// Takes back what the form names.
pub(super) async fn press(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<PressedRevoke, Refused> {
    let (login_form, names) = (server.login_form(), ["grants"]);
    let pressed = pressed(login_form, request, Purpose::Revoke, &names, now).await?;
    let mut entries = Vec::new();
    let (settings, records) = (&server.settings, &server.records);
    let notice = take_back(settings, records, &pressed, &mut entries, now).await;
    Ok(PressedRevoke {
        session: pressed.session,
        notice,
        records: entries,
    })
}

/// What was taken back is written down, also if the rest failed.
pub(super) fn with_records(
    server: &AuthorizationServer,
    request: &Request,
    answered: Result<Response, Refused>,
    records: Vec<Record>,
) -> Response {
    let page = answered.unwrap_or_else(|refused| refused.page(&server.settings, request));
    records.into_iter().fold(page, audited)
}

async fn take_back(
    settings: &Settings,
    records: &Records,
    pressed: &SubmittedForm,
    entries: &mut Vec<Record>,
    now: Timestamp,
) -> Result<AccountNotice, StoreError> {
    let Some(made) = pressed.made else {
        return Ok(AccountNotice::PageExpired);
    };
    let (mut client, mut is_revoked, mut is_withheld) = (None, false, false);
    let mut own = Vec::new();
    for id in pressed.fields[0].split(' ').map(GrantId::new) {
        let user = &pressed.session.user;
        let record = match records.grant(&id, now).await {
            Ok(Some(grant)) if grant.user == *user => {
                let record = revoke::take_back(records, settings, &grant, now).await?;
                is_withheld |= grant.allowed_by.is_some();
                client = Some(grant.client);
                own.extend(grant.personal.map(|kept| kept.name));
                record
            }
            Ok(_) => continue,
            // The page listed it as this person's, or there were no seal.
            Err(error) if error.concerns_one_record() => Record {
                user: Some(user.as_str().to_owned()),
                ..revoke::take_back_unread(records, settings, &id, now).await?
            },
            Err(error) => return Err(error),
        };
        entries.push(Record {
            detail: Some("by the person, at /account".to_owned()),
            ..record
        });
        is_revoked = true;
    }
    if !is_revoked {
        return already_over(records, pressed, now).await;
    }
    let mut name = None;
    if let Some(id) = client {
        end_codes(records, settings, &pressed.session.user, &id, made, now).await?;
        let client = cards::client(settings, records, &id, now).await?;
        name = client.and_then(|client| client.name);
    }
    match own.as_slice() {
        [] => {}
        [one] => name = Some(one.clone()),
        several => name = Some(format!("{} tokens", several.len())),
    }
    // Revoked it is, whether or not this can be noted.
    let revoked = RevocationNotice { name, is_withheld };
    let said = revoked.to_text();
    let noted = records.press(&pressed.form, &said, now + DOUBLE, now);
    let _ = noted.await;
    Ok(revoked.notice())
}

/// What the page says of a revocation, also to whoever presses the button again.
struct RevocationNotice {
    /// Of the app, if it has one.
    name: Option<String>,
    /// Whether an organisation had allowed some of it.
    is_withheld: bool,
}

impl RevocationNotice {
    /// Stands before the name, in which there is no such character.
    const WITHHELD: char = '\n';

    fn to_text(&self) -> String {
        let mark = self.is_withheld.then_some(Self::WITHHELD);
        let name = self.name.as_deref().unwrap_or_default();
        mark.into_iter().chain(name.chars()).collect()
    }

    fn from_text(text: &str) -> Self {
        let marked = text.strip_prefix(Self::WITHHELD);
        let name = marked.unwrap_or(text);
        Self {
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            is_withheld: marked.is_some(),
        }
    }

    fn notice(self) -> AccountNotice {
        if self.is_withheld {
            AccountNotice::Withheld(self.name)
        } else {
            AccountNotice::Revoked(self.name)
        }
    }
}

/// Where nothing is left to be revoked, a button that was pressed twice says what it said the first
/// time. The first press may still be on its way, here or on another replica.
async fn already_over(
    records: &Records,
    pressed: &SubmittedForm,
    now: Timestamp,
) -> Result<AccountNotice, StoreError> {
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        if let Some(said) = records.pressed_lately(&pressed.form, now).await? {
            return Ok(RevocationNotice::from_text(&said).notice());
        }
    }
    Ok(AccountNotice::AlreadyOver)
}

/// Ends what the person's codes for this app would give that were out before `made`, and what the app has
/// not fetched on another machine, unless the app keeps a connection.
async fn end_codes(
    records: &Records,
    settings: &Settings,
    user: &UserId,
    client: &ClientId,
    made: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let of = GrantsOf {
        user: Some(user),
        client: Some(client),
    };
    if !records.grants(of, None, 1, now).await?.entries.is_empty() {
        return Ok(());
    }
    let until = now + settings.longest_token() + 2 * LEEWAY;
    let codes = records.open_codes(of, now).await?;
    let before = codes.entries.into_iter();
    let before = before.filter(|code| code.issued <= made);
    let mut named: Vec<_> = before.map(|code| (code.grant, until)).collect();
    let devices = records.answered_devices(of, now).await?;
    let allowed = devices
        .entries
        .into_iter()
        .filter_map(|asked| asked.allowed());
    let before = allowed.filter(|allowed| allowed.at <= made);
    named.extend(before.map(|allowed| (allowed.grant, until)));
    // One that can't be read can't be redeemed either, and the log has named it.
    records.revoke_grants(named, now).await
}
