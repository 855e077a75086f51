//! Taking a way to log in off a person: a passkey, or the password where a passkey has replaced it. A
//! person keeps the last one.

use crate::identity::people::without_sessions;
use crate::passkey::site::Passkeys;
use rand::RngCore;

use crate::provider::membership::has_account_that_lets_in;
use crate::ways_in::WaysIn;
use gateway_core::clock::Timestamp;
use gateway_store::{Records, StoreError, User};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It logs nobody in any more. The person as they are now.
    Done(User),
    /// The person has none.
    NotThere,
    /// Without it the person could not log in.
    LastWayIn,
}

/// Whether a person could log in, as things are configured.
pub(crate) fn has_way_in(ways: WaysIn<'_>, user: &User) -> bool {
    ways.is_local(user) || has_account_that_lets_in(ways.providers, user)
}

/// Takes a passkey off a person. Browser sessions that came with it are over (`session`); what the person
/// allowed apps stays.
pub async fn remove(
    ways: WaysIn<'_>,
    records: &Records,
    user: &User,
    id: &str,
    now: Timestamp,
) -> Result<Removed, StoreError> {
    take_off(records, user, id, now, |left| has_way_in(ways, left)).await
}

/// The same for the operator, also of the last way in: a passkey may have been stolen.
pub async fn remove_by_operator(
    records: &Records,
    user: &User,
    id: &str,
    now: Timestamp,
) -> Result<Removed, StoreError> {
    take_off(records, user, id, now, |_| true).await
}

async fn take_off(
    records: &Records,
    user: &User,
    id: &str,
    now: Timestamp,
    may_be_left: impl Fn(&User) -> bool + Send + Sync,
) -> Result<Removed, StoreError> {
    if user.passkey(id).is_none() {
        return Ok(Removed::NotThere);
    }
    // Judged over the record as it is when it is changed: of two presses in two windows one may leave
    // only one way in.
    let change = |present: User| {
        let left = present.clone().without_passkey(id);
        if may_be_left(&left) { left } else { present }
    };
    Ok(match records.change_person(user, now, change).await? {
        None => Removed::NotThere,
        Some(changed) if changed.passkey(id).is_some() => Removed::LastWayIn,
        Some(changed) => {
            records.forget_passkey(id, &changed, now).await?;
            Removed::Done(changed)
        }
    })
}

/// Takes the password off a person who has a passkey instead; all browser sessions are over with it. Not
/// that of the owner of the configuration, which is the configuration's.
pub(crate) async fn remove_password(
    passkeys: &Passkeys,
    records: &Records,
    user: &User,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<Removed, StoreError> {
    if user.password().is_none() || user.configured {
        return Ok(Removed::NotThere);
    }
    let without_sessions = without_sessions(random);
    let change = |present: User| {
        if present.configured || !passkeys.lets_in(&present) {
            return present;
        }
        User {
            password_hash: String::new(),
            ..without_sessions(present)
        }
    };
    Ok(match records.change_person(user, now, change).await? {
        None => Removed::NotThere,
        Some(changed) if changed.password().is_some() => Removed::LastWayIn,
        Some(changed) => Removed::Done(changed),
    })
}
