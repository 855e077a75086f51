//! A person's own accounts at backends: how each stands, and the button that removes one.

use crate::audited::{audited, by};
use crate::error_page::Refused;
use crate::form_token::Purpose;
use crate::pages::{AccountNotice, Elsewhere, ElsewhereAccount};
use crate::server::AuthorizationServer;
use gateway_accounts::Removed;
use gateway_core::account::settings::AccountKind;
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};
use gateway_store::{Account, StoreError};

use super::form::{Sealer, pressed};
use super::view::show;

/// How each stands; those at backends that are called with them no more come last.
pub(super) async fn load(sealer: Sealer<'_>) -> Result<Vec<Elsewhere>, StoreError> {
    let accounts = &sealer.server.accounts;
    let mut connected = accounts.of_person(&sealer.session.user).await?;
    let mut all = Vec::new();
    for (backend, settings) in accounts.backends() {
        let at = connected.iter().position(|it| it.backend == backend);
        let account = at.map(|at| connected.swap_remove(at));
        // Nobody connects what is exchanged.
        if matches!(settings.kind, AccountKind::Exchange(_)) && account.is_none() {
            continue;
        }
        all.push(Elsewhere {
            backend: backend.to_owned(),
            is_served: !matches!(settings.kind, AccountKind::Exchange(_)),
            account: account.map(|account| shown(sealer, &account)),
        });
    }
    connected.sort_by(|one, other| one.backend.cmp(&other.backend));
    all.extend(connected.iter().map(|account| Elsewhere {
        backend: account.backend.clone(),
        is_served: false,
        account: Some(shown(sealer, account)),
    }));
    Ok(all)
}

fn shown(sealer: Sealer<'_>, account: &Account) -> ElsewhereAccount {
    let state = sealer.server.accounts.lapse_of(account);
    ElsewhereAccount {
        called: account.called.clone(),
        since: account.connected,
        scopes: account.scopes.clone(),
        renewed: account.renewed,
        lapsed: state.map(gateway_store::Lapse::words),
        is_too_small: !account.wanted.is_empty(),
        seal: sealer.seal(Purpose::Disconnect, &[&account.backend]),
    }
}

/// `POST /account/disconnect`.
pub(crate) async fn submit(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let pressed = pressed(
        server.login_form(),
        request,
        Purpose::Disconnect,
        &["backend"],
        now,
    )
    .await?;
    let session = &pressed.session;
    let again = |notice| show(server, request, session, Some(notice));
    if pressed.made.is_none() {
        return again(AccountNotice::PageExpired).await;
    }
    let backend = pressed.fields[0].clone();
    let removed = server.accounts.remove(&backend, &session.user).await?;
    let notice = match &removed {
        Removed::None => return again(AccountNotice::AlreadyDisconnected).await,
        Removed::Everywhere => AccountNotice::Disconnected(backend.clone()),
        Removed::Here | Removed::NotThere(_) => AccountNotice::DisconnectedHere(backend.clone()),
    };
    log::info!(
        event = "account_removed", backend = backend.as_str(), user = session.user.as_str(),
        request_id = request.request_id.as_str();
        "a person removed their account at a backend"
    );
    let record = Record {
        backend: Some(backend),
        detail: Some(removed.words()),
        ..by(&session.user, Event::Account)
    };
    Ok(audited(again(notice).await?, record))
}
