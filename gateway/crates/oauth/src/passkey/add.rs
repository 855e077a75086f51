//! Adding a passkey to a person.

use super::form::unseal;
use super::refusal::PasskeyRefusal;
use crate::browser::{Cookie, PostedForm};
use crate::form_token::{Purpose, SealError, Unsealed};
use crate::pages;
use crate::passkey::site::Passkeys;
use crate::server::{AuthorizationServer, Settings};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;
use gateway_core::secret::TagKey;
use gateway_store::{Passkey, Records, StoreError, User};

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

/// What passkeys are made with: at which site, for which browser, and under which seal.
#[derive(Clone, Copy)]
pub(crate) struct Ceremonies<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) tags: &'a TagKey,
    pub(crate) passkeys: &'a Passkeys,
}

impl AuthorizationServer {
    pub(crate) const fn ceremonies(&self) -> Ceremonies<'_> {
        Ceremonies {
            settings: &self.settings,
            tags: &self.tags,
            passkeys: &self.passkeys,
        }
    }
}

/// The passkey in a form whose seal is over `about`.
pub(crate) fn registered(
    ceremonies: Ceremonies<'_>,
    request: &Request,
    form: &PostedForm,
    (purpose, about): (Purpose, &str),
    now: Timestamp,
) -> Result<NewPasskey, NotMade> {
    let Ceremonies {
        settings,
        tags,
        passkeys,
    } = ceremonies;
    let browser = Cookie::Browser.read(settings, request).unwrap_or_default();
    let state = form.field("state");
    let sealed = form.field("passkey_seal");
    let unsealed = unseal(tags, purpose, (browser, about, state), sealed, now);
    let unsealed = unsealed.map_err(NotMade::Seal)?;
    let name = pages::clean(form.field("passkey_name").trim(), Passkey::LONGEST_NAME);
    let name = if name.is_empty() { NAMELESS } else { &name };
    let answer = form.field("credential");
    let made = passkeys.finish_registration(state, answer, name, now);
    let passkey = made.map_err(NotMade::Refused)?;
    Ok(NewPasskey { passkey, unsealed })
}

/// Adds it, if the person is whom `is_meant` takes, as they are at that moment. The person as they are now; or
/// why it is not theirs. What was added before stays as it is, and an addition that was cut short is brought
/// to its end.
pub(crate) async fn add(
    records: &Records,
    user: &User,
    is_meant: impl Fn(&User) -> bool + Send + Sync,
    passkey: &Passkey,
    now: Timestamp,
) -> Result<Result<User, Reason>, StoreError> {
    let refused = |reason| Ok(Err(reason));
    let owner = records.user_of_passkey(&passkey.id, now).await?;
    if owner.is_some_and(|owner| owner.id != user.id) {
        return refused(Reason::PasskeyTaken);
    }
    let change = |present: User| {
        let may_have_it = is_meant(&present) && present.passkeys.len() < Passkey::MOST;
        if may_have_it && present.passkey(&passkey.id).is_none() {
            present.with_passkey(passkey.clone())
        } else {
            present
        }
    };
    let Some(changed) = records.change_person(user, now, change).await? else {
        return refused(Reason::PasskeyUnknown);
    };
    // The person may have logged in with it since: its count is another then, its key is not.
    match changed.passkey(&passkey.id) {
        Some(kept) if kept.is_same(passkey) => {}
        Some(_) => return refused(Reason::PasskeyTaken),
        None if changed.passkeys.len() < Passkey::MOST => return refused(Reason::PasskeyUnknown),
        None => return refused(Reason::PasskeysFull),
    }
    // The record says so first: a way to somebody who does not have it leads nowhere.
    if !records.add_passkey(&passkey.id, &changed, now).await? {
        let without = |present: User| present.without_passkey(&passkey.id);
        records.change_person(user, now, without).await?;
        return refused(Reason::PasskeyTaken);
    }
    Ok(Ok(changed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::grants::UserId;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn passkey(key: &str) -> Passkey {
        Passkey {
            id: "k".to_owned(),
            name: "Phone".to_owned(),
            site: Some("mcp.example.com".to_owned()),
            public_key: json!({ "x": key }),
            counter: 1,
            backup_eligible: false,
            backed_up: false,
            added: NOW,
            last_used: None,
        }
    }

    fn is(user: &User) -> impl Fn(&User) -> bool + Send + Sync {
        move |present| present.id == user.id
    }

    #[tokio::test]
    async fn who_is_not_meant_any_more_gets_none() {
        let server = crate::tests::server();
        let alice = User::new(UserId::new("u_1"), "alice", "", NOW);
        assert!(server.records.add_user(&alice, NOW).await.unwrap());
        let nobody = |_: &User| false;
        let added = add(&server.records, &alice, nobody, &passkey("a"), NOW).await;
        assert_eq!(added.unwrap(), Err(Reason::PasskeyUnknown));
        let kept = server.records.user("alice", NOW).await.unwrap().unwrap();
        assert!(kept.passkeys.is_empty());
    }

    #[tokio::test]
    async fn what_was_added_is_added_again_and_what_was_cut_short_is_brought_to_its_end() {
        let server = crate::tests::server();
        let records = &server.records;
        let alice = User::new(UserId::new("u_1"), "alice", "", NOW);
        assert!(records.add_user(&alice, NOW).await.unwrap());
        let of = async || {
            let owner = records.user_of_passkey("k", NOW).await.unwrap();
            owner.map(|owner| owner.name)
        };
        // Cut short: the record has it, and nothing leads to the record.
        let kept = |user: User| user.with_passkey(passkey("a"));
        records.change_user("alice", NOW, kept).await.unwrap();
        assert_eq!(of().await, None);
        let added = add(&server.records, &alice, is(&alice), &passkey("a"), NOW)
            .await
            .unwrap();
        assert!(added.is_ok(), "{added:?}");
        assert_eq!(of().await.as_deref(), Some("alice"));

        // Used meanwhile: the count that goes on is not set back.
        let used = Passkey {
            counter: 7,
            last_used: Some(NOW),
            ..passkey("a")
        };
        let change = |user: User| user.with_passkey(used.clone());
        records.change_user("alice", NOW, change).await.unwrap();
        let added = add(&server.records, &alice, is(&alice), &passkey("a"), NOW)
            .await
            .unwrap();
        assert_eq!(added.unwrap().passkey("k"), Some(&used));

        // Another key under the same id is another passkey, and so is that of another person.
        let taken = Err(Reason::PasskeyTaken);
        let other = add(&server.records, &alice, is(&alice), &passkey("b"), NOW)
            .await
            .unwrap();
        assert_eq!(other, taken);
        let bob = User::new(UserId::new("u_2"), "bob", "", NOW);
        assert!(records.add_user(&bob, NOW).await.unwrap());
        assert_eq!(
            add(&server.records, &bob, is(&bob), &passkey("a"), NOW)
                .await
                .unwrap(),
            taken
        );
        let bob = records.user("bob", NOW).await.unwrap().unwrap();
        assert!(bob.passkeys.is_empty());
        assert_eq!(of().await.as_deref(), Some("alice"));
    }
}
