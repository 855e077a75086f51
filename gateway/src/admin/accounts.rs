//! `accounts`: people's own accounts at backends. Their credentials are in no answer.

use super::failure::Failure;
use super::lookup;
use super::outcome::{Done, Subject};
use super::request::Request;
use crate::operator_api::{
    ElsewherePage, ElsewhereView, ListAccounts, RemoveAccount, RemovedElsewhere,
};
use gateway_accounts::{Accounts, Removed};
use gateway_oauth::Settings;
use gateway_store::{Account, Lapse, Records};

pub(super) async fn list(
    accounts: &Accounts,
    records: &Records,
    request: &Request,
) -> Result<Done, Failure> {
    let query = request.query::<ListAccounts>()?;
    let (after, limit) = (query.after.as_deref(), query.limit.get());
    let page = records.accounts_page(after, limit, request.now).await?;
    let view = |account: &Account| view(accounts, account);
    Ok(Done::read::<ListAccounts>(&ElsewherePage {
        accounts: page.entries.iter().map(view).collect(),
        next: page.next,
    }))
}

pub(super) async fn remove(
    settings: &Settings,
    records: &Records,
    accounts: &Accounts,
    request: &Request,
) -> Result<Done, Failure> {
    let asked = request.body::<RemoveAccount>()?;
    let user = lookup::user_id(settings, records, &asked.user, request.now).await?;
    let removed = accounts.remove(&asked.backend, &user).await?;
    if removed == Removed::None {
        return Err(Failure::unknown(
            "account at a backend",
            &asked.backend,
            "accounts ls",
        ));
    }
    let words = removed.words();
    let subject = Subject::of_user(&user).with_words(format!("{}: {words}", asked.backend));
    Ok(Done::new::<RemoveAccount>(
        &RemovedElsewhere { removed: words },
        subject,
    ))
}

fn view(accounts: &Accounts, account: &Account) -> ElsewhereView {
    let state = accounts.lapse_of(account).map(Lapse::words);
    ElsewhereView {
        user: account.user_name.clone(),
        backend: account.backend.clone(),
        called: account.called.clone(),
        connected: account.connected.to_string(),
        renewed: account.renewed.map(|at| at.to_string()),
        scopes: account.scopes.clone(),
        state: state.unwrap_or("connected").to_owned(),
    }
}
