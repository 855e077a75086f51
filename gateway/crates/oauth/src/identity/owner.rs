//! Login names, and the owner whom the configuration names.

use rand::RngCore;

use crate::identity::{PasswordPhc, people};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_store::{Disabled, Key, Records, StoreError, User};

/// A login name: 1 to 64 characters, none of them blank or invisible. It is compared in lower case,
/// and goes to backends in a header, so it is ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginName(String);

impl LoginName {
    /// Takes letters, digits and `. _ - + @`, without surrounding blanks.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let valid = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-+@".contains(&b));
        valid.then(|| Self(text.to_owned()))
    }

    /// The name as its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Adds the owner whom the configuration names, or gives that person the password it names now.
/// A changed password ends that person's browser sessions.
///
/// Whoever the configuration named before is disabled and returned: what they allowed is for the
/// caller to cut off, and then [`forget_former_owner`]. An owner whom the operator disabled stays so, as
/// long as the record can be read.
pub async fn ensure_owner(
    records: &Records,
    name: &LoginName,
    password: &PasswordPhc,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<Vec<User>, StoreError> {
    let configured = |user: User| User {
        password_hash: password.as_str().to_owned(),
        configured: true,
        disabled: user.disabled.filter(|why| *why != Disabled::FormerOwner),
        ..user
    };
    let kept = records.user(name.as_str(), now).await;
    // One that can't be read is as good as none: the configuration says it all anew.
    match records.unless_unreadable(&Key::user(name.as_str()), kept)? {
        Some(user) if configured(user.clone()) == user => {}
        Some(user) => drop(records.change_user(&user.name, now, configured).await?),
        None => {
            let id = UserId::draw(random);
            let user = User::new(id, name.as_str(), password.as_str(), now);
            // A replica that starts at the same moment adds the same one.
            if !records.add_user_anew(&configured(user), now).await? {
                records.change_user(name.as_str(), now, configured).await?;
            }
        }
    }
    disable_former_owners(records, name, now, random).await
}

async fn disable_former_owners(
    records: &Records,
    owner: &LoginName,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<Vec<User>, StoreError> {
    let everybody = records.users(None, usize::MAX, now).await?.entries;
    let mut former = Vec::new();
    for user in everybody {
        if !user.configured || user.name.eq_ignore_ascii_case(owner.as_str()) {
            continue;
        }
        let why = user.disabled.unwrap_or(Disabled::FormerOwner);
        former.extend(people::disable(records, &user.name, why, now, random).await?);
    }
    Ok(former)
}

/// Notes that nothing is left to be done about a former owner. Until then every start does it again.
pub async fn forget_former_owner(
    records: &Records,
    former: &User,
    now: Timestamp,
) -> Result<(), StoreError> {
    let change = |user: User| User {
        configured: false,
        ..user
    };
    records.change_user(&former.name, now, change).await?;
    Ok(())
}

/// Where the configuration names no owner: whoever it named before stays as a person like others,
/// whose password is no longer its business. A former owner who was kept out and whose access may
/// not have been cut off yet is left for the next owner's start.
pub async fn no_owner(records: &Records, now: Timestamp) -> Result<Vec<User>, StoreError> {
    let everybody = records.users(None, usize::MAX, now).await?.entries;
    let released = |user: User| User {
        configured: user.configured && user.disabled.is_some(),
        ..user
    };
    let mut former = Vec::new();
    for user in everybody {
        if released(user.clone()) != user {
            former.extend(records.change_user(&user.name, now, released).await?);
        }
    }
    Ok(former)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand::rngs::OsRng;

    use super::*;
    use gateway_store::Memory;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    #[tokio::test]
    async fn an_owner_who_is_no_longer_named_is_disabled_until_named_again() {
        let records = Records::new(Arc::new(Memory::new()));
        let hash = PasswordPhc::parse(
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$\
             Q2tvSXJ2QkFLWjN3N0FvZ2N4d2d3QVZzSkNJ",
        )
        .unwrap();
        let start = async |name: &str| {
            let name = LoginName::parse(name).unwrap();
            let former = ensure_owner(&records, &name, &hash, NOW, &mut OsRng).await;
            former.unwrap()
        };
        let user = async |name: &str| records.user(name, NOW).await.unwrap().unwrap();

        assert_eq!(start("alice").await, []);
        assert_eq!(start("Alice").await, [], "the same name in another case");
        let hired = LoginName::parse("carol").unwrap();
        people::add(&records, &hired, Some(&hash), NOW, &mut OsRng)
            .await
            .unwrap();
        let alice = user("alice").await;

        let former = start("bob").await;
        assert_eq!(former.len(), 1);
        assert_eq!(former[0].id, alice.id);
        assert_eq!(former[0].disabled, Some(Disabled::FormerOwner));
        assert_ne!(former[0].credential(), alice.credential());
        assert_eq!(user("carol").await.disabled, None);
        // Not forgotten: a start that was cut short is made up for.
        assert_eq!(start("bob").await.len(), 1);
        forget_former_owner(&records, &former[0], NOW)
            .await
            .unwrap();
        assert_eq!(start("bob").await, []);
        assert_eq!(user("alice").await.disabled, Some(Disabled::FormerOwner));

        let former = start("alice").await;
        assert_eq!(former[0].name, "bob");
        assert_eq!(user("alice").await.disabled, None);

        people::disable(&records, "alice", Disabled::ByOperator, NOW, &mut OsRng)
            .await
            .unwrap();
        start("alice").await;
        let alice = user("alice").await;
        assert_eq!(alice.disabled, Some(Disabled::ByOperator));
    }

    #[tokio::test]
    async fn an_owner_whose_record_cannot_be_read_is_added_anew_and_others_are_left_out() {
        let records = Records::new(Arc::new(Memory::new()));
        let hash = PasswordPhc::parse(
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$\
             Q2tvSXJ2QkFLWjN3N0FvZ2N4d2d3QVZzSkNJ",
        )
        .unwrap();
        let store = records.store();
        for name in ["aaron", "alice"] {
            store.put(&Key::user(name), b"{", None).await.unwrap();
        }
        let alice = LoginName::parse("alice").unwrap();
        let former = ensure_owner(&records, &alice, &hash, NOW, &mut OsRng).await;
        assert_eq!(former.unwrap(), []);
        let alice = records.user("alice", NOW).await.unwrap().unwrap();
        assert!(alice.configured);
        assert_eq!(no_owner(&records, NOW).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_owner_who_is_taken_out_of_the_configuration_is_a_person_like_others() {
        let records = Records::new(Arc::new(Memory::new()));
        let hash = PasswordPhc::parse(
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$\
             Q2tvSXJ2QkFLWjN3N0FvZ2N4d2d3QVZzSkNJ",
        )
        .unwrap();
        let start = async |name: &str| {
            let name = LoginName::parse(name).unwrap();
            let former = ensure_owner(&records, &name, &hash, NOW, &mut OsRng).await;
            former.unwrap()
        };
        let user = async |name: &str| records.user(name, NOW).await.unwrap().unwrap();
        start("alice").await;
        let before = user("alice").await;
        assert!(before.configured);
        assert_eq!(no_owner(&records, NOW).await.unwrap().len(), 1);
        let after = user("alice").await;
        assert!(!after.configured);
        assert_eq!(after.disabled, None);
        assert_eq!(after.credential(), before.credential());
        assert!(no_owner(&records, NOW).await.unwrap().is_empty());

        // What is left to be done about a former owner is not forgotten.
        start("alice").await;
        assert_eq!(start("bob").await.len(), 1);
        assert_eq!(no_owner(&records, NOW).await.unwrap().len(), 1);
        let alice = user("alice").await;
        assert!(alice.configured);
        assert_eq!(alice.disabled, Some(Disabled::FormerOwner));
    }
}
