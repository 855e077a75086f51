//! The people who may log in: adding them, giving them another password, and keeping them out.
//!
//! Owns: what changes in a person's record. Not: what the person allowed apps (`oauth::revoke_all`).

use rand::RngCore;

use crate::identity::{LoginName, PasswordPhc};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::secret::Secret;
use gateway_store::{Disabled, Records, StoreError, User};

/// Adds a person, who without a password sets themselves up by a link (`rescue`). `None` if somebody has
/// the name.
pub async fn add(
    records: &Records,
    name: &LoginName,
    password: Option<&PasswordPhc>,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<Option<User>, StoreError> {
    let password = password.map_or("", PasswordPhc::as_str);
    let user = User::new(UserId::draw(random), name.as_str(), password, now);
    let added = records.add_user_anew(&user, now).await?;
    Ok(added.then_some(user))
}

/// Gives the person of a name another password, which ends their browser sessions. `None` if they are not
/// whom `is_meant` takes, as they are at that moment: whoever got the name meanwhile is somebody else.
pub async fn set_password(
    records: &Records,
    name: &str,
    is_meant: impl Fn(&User) -> bool + Send + Sync,
    password: &PasswordPhc,
    now: Timestamp,
) -> Result<Option<User>, StoreError> {
    let change = |present: User| {
        if !is_meant(&present) {
            return present;
        }
        User {
            password_hash: password.as_str().to_owned(),
            ..present
        }
    };
    let changed = records.change_user(name, now, change).await?;
    // Its salt was drawn for it, so nobody else has this one.
    Ok(changed.filter(|changed| changed.password() == Some(password.as_str())))
}

/// Keeps a person out: no login, no token, and the browser sessions of before stay dead whatever
/// comes later. What the person allowed is for the caller to cut off afterwards. `None` if there is
/// nobody of this name.
pub async fn disable(
    records: &Records,
    name: &str,
    why: Disabled,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<Option<User>, StoreError> {
    let without_sessions = without_sessions(random);
    let change = |user: User| User {
        disabled: Some(why),
        ..without_sessions(user)
    };
    records.change_user(name, now, change).await
}

/// Ends every browser session of a person, at once and wherever they are. `None` if there is nobody of
/// this name.
pub async fn end_sessions(
    records: &Records,
    name: &str,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<Option<User>, StoreError> {
    let change = without_sessions(random);
    records.change_user(name, now, change).await
}

/// What ends every browser session of a person: theirs begin with another text from now on.
pub(crate) fn without_sessions(random: &mut (dyn RngCore + Send)) -> impl Fn(User) -> User + use<> {
    let sessions = Secret::draw(random).reveal().to_owned();
    move |user| User {
        sessions: sessions.clone(),
        ..user
    }
}

/// Lets a person log in again; as the owner of the configuration only if that is whom it names by `owner`
/// now. `None` if there is nobody of this name.
pub async fn enable(
    records: &Records,
    name: &str,
    owner: Option<&str>,
    now: Timestamp,
) -> Result<Option<User>, StoreError> {
    let change = |user: User| {
        let is_named = owner.is_some_and(|owner| owner.eq_ignore_ascii_case(&user.name));
        User {
            disabled: None,
            configured: user.configured && is_named,
            ..user
        }
    };
    records.change_user(name, now, change).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use gateway_store::{Memory, RescueLink};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn records() -> Records {
        Records::new(Arc::new(Memory::new()))
    }

    #[tokio::test]
    async fn a_password_is_set_for_the_person_who_was_meant_and_not_for_the_next_of_the_name() {
        let records = records();
        let hash = PasswordPhc::parse(
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$\
             Q2tvSXJ2QkFLWjN3N0FvZ2N4d2d3QVZzSkNJ",
        )
        .unwrap();
        let [before, after] = ["u_1", "u_2"].map(|id| User::new(UserId::new(id), "dora", "", NOW));
        assert!(records.add_user(&after, NOW).await.unwrap());
        let set = async |user: &User| {
            let is_meant = |present: &User| present.id == user.id;
            let set = set_password(&records, "dora", is_meant, &hash, NOW);
            set.await.unwrap()
        };
        assert_eq!(set(&before).await, None);
        let kept = records.user("dora", NOW).await.unwrap().unwrap();
        assert_eq!(kept.password(), None);
        let changed = set(&after).await.unwrap();
        assert_eq!(changed.password(), Some(hash.as_str()));
    }

    #[tokio::test]
    async fn of_two_links_that_are_used_at_once_the_second_sets_nothing() {
        let records = records();
        let alice = User::new(UserId::new("u_1"), "alice", "$argon2id$before", NOW);
        assert!(records.add_user(&alice, NOW).await.unwrap());
        let links = [RescueLink::new(&alice), RescueLink::new(&alice)];
        let hash = |salt| {
            let text = format!(
                "$argon2id$v=19$m=19456,t=2,p=1${salt}$Q2tvSXJ2QkFLWjN3N0FvZ2N4d2d3QVZzSkNJ"
            );
            PasswordPhc::parse(&text).unwrap()
        };
        let hashes = [hash("c2FsdHNhbHRzYWx0"), hash("cGVwcGVycGVwcGVy")];
        let mut set = Vec::new();
        for (link, hash) in links.iter().zip(&hashes) {
            let is_meant = |present: &User| link.fits(present);
            let changed = set_password(&records, "alice", is_meant, hash, NOW).await;
            set.push(changed.unwrap().is_some());
        }
        assert_eq!(set, [true, false]);
        let kept = records.user("alice", NOW).await.unwrap().unwrap();
        assert_eq!(kept.password(), Some(hashes[0].as_str()));
    }

    #[tokio::test]
    async fn whom_the_configuration_names_no_more_is_let_in_as_a_person_like_others() {
        for (owner, stays) in [(Some("ALICE"), true), (Some("bob"), false), (None, false)] {
            let records = records();
            let alice = User {
                configured: true,
                disabled: Some(Disabled::FormerOwner),
                ..User::new(UserId::new("u_1"), "alice", "$argon2id$", NOW)
            };
            assert!(records.add_user(&alice, NOW).await.unwrap());
            let enabled = enable(&records, "alice", owner, NOW)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(enabled.disabled, None);
            assert_eq!(enabled.configured, stays, "{owner:?}");
        }
        let records = records();
        let carol = User::new(UserId::new("u_1"), "carol", "", NOW);
        assert!(records.add_user(&carol, NOW).await.unwrap());
        let enabled = enable(&records, "carol", Some("carol"), NOW).await;
        assert!(
            !enabled.unwrap().unwrap().configured,
            "nobody becomes it so"
        );
    }
}
