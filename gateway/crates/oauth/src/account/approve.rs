//! The button that approves a changed tool again: exactly the definition that the page showed, and
//! only while it is what the backend offers.

use std::time::Duration;

use crate::error_page::Refused;
use crate::form_token::Purpose;
use crate::pages::AccountNotice;
use crate::server::{AuthorizationServer, Settings};
use gateway_core::access_token::LEEWAY;
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::grants::amendment::{Amendment, NotAmended, amend};
use gateway_core::grants::{Grant, GrantId, Pin, ToolState};
use gateway_core::protocol::web::{Request, Response};
use gateway_core::reason::Reason;
use gateway_store::journal::Journal;
use gateway_store::{KeptGrant, KeyKind, StoreError, unless_conflict};
use gateway_upstream::Catalogue;

use super::form::{SubmittedForm, pressed};
use super::view::show;

/// How often a refresh may move the grant on between our reading and our writing.
const ATTEMPTS: usize = 8;

/// For so long a button that is pressed again says the same.
const DOUBLE: Duration = Duration::from_secs(60);

/// `POST /account/approve`.
pub(crate) async fn submit(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let names = ["grant", "tool", "pin"];
    let pressed = pressed(server.login_form(), request, Purpose::Approve, &names, now).await?;
    let notice = match pressed.made {
        Some(_) => approve(server, request, &pressed, now).await?,
        None => AccountNotice::PageExpired,
    };
    show(server, request, &pressed.session, Some(notice)).await
}

async fn approve(
    server: &AuthorizationServer,
    request: &Request,
    pressed: &SubmittedForm,
    now: Timestamp,
) -> Result<AccountNotice, Refused> {
    let [id, tool, pin] = &pressed.fields[..] else {
        return Ok(AccountNotice::AlreadyOver);
    };
    let (id, Some(pin)) = (GrantId::new(id), Pin::parse(pin)) else {
        return Ok(AccountNotice::AlreadyOver);
    };
    let records = &server.records;
    let mut is_entered = false;
    for _ in 0..ATTEMPTS {
        let view = records.view();
        let is_good = |kept: &KeptGrant| !view.is_some_and(|view| view.revokes_grant(&kept.grant));
        let kept = records.kept_grant(&id, now).await?;
        let Some(kept) = kept.filter(is_good) else {
            return Ok(AccountNotice::AlreadyOver);
        };
        let current = current(&server.settings, &server.catalogue, &kept.grant, tool).await;
        let known = view.and_then(|view| view.amended(&id));
        let user = &pressed.session.user;
        match amend(&kept.grant, user, tool, pin, current, known.as_deref(), now) {
            Ok((grant, amendment)) => {
                // The amendment opens the tool on every replica at once, so it is written down before.
                if !is_entered {
                    enter(
                        &server.settings,
                        &server.journal,
                        request,
                        &grant,
                        &amendment,
                    )
                    .await?;
                    is_entered = true;
                }
                let until = last_use_of_old_pins(&server.settings, &grant, now);
                // A token that is being given beside this is for the choice from before.
                let tokens_end = now + server.settings.access_ttl + 4 * LEEWAY;
                let ends = [until, tokens_end];
                let amended = records.amend_grant(&kept, &grant, &amendment, ends, now);
                if unless_conflict(amended.await)?.is_some() {
                    log::info!(
                        event = "tool_approved_again", tool = tool.as_str(),
                        grant = grant.id.as_str(), client = grant.client.as_str(),
                        user = grant.user.as_str(), request_id = request.request_id.as_str();
                        "a person approved a changed tool"
                    );
                    return Ok(AccountNotice::Approved(tool.clone()));
                }
            }
            // Pressed twice: it says what it said the first time.
            Err(NotAmended::Already)
                if known
                    .as_deref()
                    .and_then(|known| known.approved(tool))
                    .is_some_and(|at| now.since(at) < DOUBLE) =>
            {
                return Ok(AccountNotice::Approved(tool.clone()));
            }
            Err(why) => return Ok(notice(why, tool.clone())),
        }
    }
    Err(StoreError::Conflict(KeyKind::Grant).into())
}

/// Enters an approval in the audit log, or refuses it.
async fn enter(
    settings: &Settings,
    journal: &Journal,
    request: &Request,
    grant: &Grant,
    amendment: &Amendment,
) -> Result<(), Refused> {
    let record = Record {
        user: Some(grant.user.as_str().to_owned()),
        client: Some(grant.client.as_str().to_owned()),
        grant: Some(grant.id.as_str().to_owned()),
        backend: settings
            .mount_of(&grant.resource)
            .map(|mount| mount.name.clone()),
        name: Some(amendment.tool.clone()),
        detail: Some(format!("approved again, as pin {}", amendment.pin)),
        ..Record::new(Event::Consent)
    };
    let record = record.asked_by(request.peer, &request.request_id);
    Ok(journal.append_durable(record).await?)
}

/// How the tool stands at this moment.
async fn current(
    settings: &Settings,
    catalogue: &Catalogue,
    grant: &Grant,
    tool: &str,
) -> ToolState {
    let Some(mount) = settings.mount_of(&grant.resource) else {
        return ToolState::Gone;
    };
    let user = Some(grant.user_name.as_str());
    match catalogue.refresh(&mount.name, user).await {
        Ok(listing) => listing.current(tool),
        Err(error) => {
            let reason = Reason::ToolsUnknown;
            log::warn!(
                event = "tools_unknown", reason, hint = reason.remedy(),
                backend = mount.name.as_str(), error:% = error; "{}", reason.sentence()
            );
            ToolState::Unknown
        }
    }
}

/// When the last token ends that may carry an earlier pin of the grant.
fn last_use_of_old_pins(settings: &Settings, grant: &Grant, now: Timestamp) -> Timestamp {
    let given_now = now + settings.longest_token();
    grant.expires.max(given_now) + 2 * LEEWAY
}

fn notice(why: NotAmended, tool: String) -> AccountNotice {
    match why {
        NotAmended::Ended | NotAmended::NeverAllowed => AccountNotice::AlreadyOver,
        NotAmended::Already => AccountNotice::AlreadyApproved(tool),
        NotAmended::ChangedAgain => AccountNotice::ChangedAgain(tool),
        NotAmended::Gone => AccountNotice::Withdrawn(tool),
        NotAmended::Unknown => AccountNotice::NotAsked(tool),
    }
}
