//! What a person or the operator took back that an identity provider's word had given an app: no such
//! word brings it again until that is lifted, or the app would be back within the second.

use crate::revoke::end_grant;
use crate::revoke_all::RevocationSubject;
use crate::server::Settings;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::Grant;
use gateway_store::{GrantsOf, Records, StoreError, User};

/// Notes that a grant is taken back, if a provider's word gave it, and ends whatever else such a word
/// gave this app of the person. To be called before the grant itself ends.
pub(crate) async fn withhold(
    records: &Records,
    settings: &Settings,
    grant: &Grant,
    now: Timestamp,
) -> Result<(), StoreError> {
    if grant.allowed_by.is_none() {
        return Ok(());
    }
    note(records, grant, now).await?;
    let of = GrantsOf {
        user: Some(&grant.user),
        client: Some(&grant.client),
    };
    let others = records.all_grants(of, now).await?.entries;
    for other in others.iter().filter(|other| other.allowed_by.is_some()) {
        end_grant(records, settings, &other.id, other.expires, now).await?;
    }
    Ok(())
}

/// The same of all that a client or a person has, before it is cut off.
pub async fn withhold_all(
    records: &Records,
    whose: RevocationSubject<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let grants = records.all_grants(whose.grants(), now).await?.entries;
    for grant in grants.iter().filter(|grant| grant.allowed_by.is_some()) {
        note(records, grant, now).await?;
    }
    Ok(())
}

async fn note(records: &Records, grant: &Grant, now: Timestamp) -> Result<(), StoreError> {
    let change = |user: User| {
        if user.id == grant.user {
            user.with_withheld(&grant.client)
        } else {
            user
        }
    };
    match records.change_user(&grant.user_name, now, change).await {
        // Of whom nothing can be read, nothing is given either.
        Err(error) if !error.concerns_one_record() => Err(error),
        _ => Ok(()),
    }
}

/// What came of lifting.
#[derive(Debug)]
pub enum Readmission {
    /// A provider's word counts again. The person as they are now.
    Done(User),
    /// Nothing was withheld from this app.
    NotWithheld,
}

/// Lets a provider's word connect an app of a person again. It brings nothing back by itself.
pub async fn lift(
    records: &Records,
    user: &User,
    client: &ClientId,
    now: Timestamp,
) -> Result<Readmission, StoreError> {
    if !user.withholds(client) {
        return Ok(Readmission::NotWithheld);
    }
    let change = |present: User| present.without_withheld(client);
    let changed = records.change_person(user, now, change).await?;
    Ok(changed.map_or(Readmission::NotWithheld, |user| {
        log::info!(
            event = "withheld_lifted", user = user.id.as_str(), client = client.as_str();
            "an identity provider's word may connect an app of a person again"
        );
        Readmission::Done(user)
    }))
}
