//! Who a person of a provider is here.

use rand::RngCore;

use super::openid::ProviderUser;
use super::settings::Provider;
use crate::identity::LoginName;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::secret::Secret;
use gateway_store::{Identity, KeyKind, Records, StoreError, User};

/// How many names are tried for a new person.
const NAMES: usize = 32;

/// What is kept of what the provider said at a login. What it did not say now and did before holds for
/// as long as it would have.
pub(super) fn identity(
    provider: &Provider,
    provider_user: &ProviderUser,
    before: Option<&Identity>,
    now: Timestamp,
) -> Identity {
    let said = said(provider, provider_user, now);
    let holds = |before: &&Identity| {
        let until = provider.max_age.map(|age| before.confirmed + age);
        until.is_none_or(|until| now < until)
    };
    match before.filter(holds) {
        Some(before) => {
            let merged = with_unsaid(&said, provider_user, before);
            let is_kept = merged.groups != said.groups || merged.address != said.address;
            let confirmed = if is_kept { before.confirmed } else { now };
            Identity {
                confirmed,
                ..merged
            }
        }
        None => said,
    }
}

/// The same of what it said when it was asked anew. An answer without what was said before confirms
/// nothing of it.
pub(super) fn renewed_identity(
    provider: &Provider,
    provider_user: &ProviderUser,
    before: &Identity,
    now: Timestamp,
) -> Identity {
    let said = said(provider, provider_user, now);
    let profile = &provider_user.profile;
    let is_partial =
        profile.groups_incomplete || (profile.address_unsaid && before.address.is_some());
    Identity {
        confirmed: if is_partial { before.confirmed } else { now },
        ..with_unsaid(&said, provider_user, before)
    }
}

fn said(provider: &Provider, provider_user: &ProviderUser, now: Timestamp) -> Identity {
    let groups = provider_user.profile.groups.iter();
    let known = groups.filter(|group| provider.known_groups.contains(*group));
    Identity {
        provider: provider.name.clone(),
        issuer: provider_user.issuer.clone(),
        subject: provider_user.profile.subject.clone(),
        address: provider_user.profile.address.clone(),
        groups: known.cloned().collect(),
        confirmed: now,
        // Where nothing ends nobody asks anew, and there is nothing to keep a secret for.
        refresh: provider_user
            .refresh
            .clone()
            .filter(|_| provider.max_age.is_some()),
        name: provider_user.profile.name.clone(),
    }
}

fn with_unsaid(said: &Identity, provider_user: &ProviderUser, before: &Identity) -> Identity {
    let profile = &provider_user.profile;
    let mut merged = said.clone();
    if merged.name.is_none() {
        merged.name.clone_from(&before.name);
    }
    if profile.address_unsaid && merged.address.is_none() {
        merged.address.clone_from(&before.address);
    }
    if profile.groups_incomplete {
        let gone = before.groups.iter();
        let gone = gone.filter(|group| !profile.groups.contains(*group));
        merged.groups.extend(gone.cloned());
    }
    merged
}

/// The person whose account this is, with what was said now; a first login makes the person.
pub(super) async fn known_or_new(
    records: &Records,
    provider: &Provider,
    provider_user: &ProviderUser,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<User, StoreError> {
    let (issuer, subject) = (&provider_user.issuer, &provider_user.profile.subject);
    let known = records.user_of_identity(issuer, subject, now);
    if let Some(user) = known.await? {
        let said = |before: &Identity| {
            let identity = identity(provider, provider_user, Some(before), now);
            // Many give a refresh token at the first consent alone.
            let token = before.refresh.clone();
            let token = token.filter(|_| provider.max_age.is_some());
            Identity {
                refresh: identity.refresh.or(token),
                ..identity
            }
        };
        if let Some(user) = confirm(records, &user, (issuer, subject), said, now).await? {
            return Ok(user);
        }
    }
    let identity = identity(provider, provider_user, None, now);
    let id = UserId::draw(random);
    for name in names(provider, provider_user) {
        let new = User::new(id.clone(), &name, "", now).with_identity(identity.clone());
        let user = if records.add_user(&new, now).await? {
            new
        } else {
            // Somebody else's name, or another press of this person made the record just now.
            match records.user(&name, now).await {
                Ok(Some(user)) if user.identity(&identity.issuer, &identity.subject).is_some() => {
                    user
                }
                Ok(_) => continue,
                // Whoever it is, nobody else gets the name.
                Err(error) if error.concerns_one_record() => continue,
                Err(error) => return Err(error),
            }
        };
        if records.add_identity(&identity, &user, now).await? {
            return Ok(user);
        }
        // Somebody linked it at this moment.
        let owner = records.user_of_identity(&identity.issuer, &identity.subject, now);
        if let Some(owner) = owner.await? {
            return Ok(owner);
        }
    }
    Err(StoreError::Conflict(KeyKind::User))
}

/// Notes what the provider said in the record of a person whose account it is; `None` if it is not any
/// more: what was removed meanwhile does not come back. `said` makes it of what stands there at that
/// moment, which others may have changed since it was read.
pub(super) async fn confirm(
    records: &Records,
    user: &User,
    (issuer, subject): (&str, &str),
    said: impl Fn(&Identity) -> Identity + Send,
    now: Timestamp,
) -> Result<Option<User>, StoreError> {
    let has_it = |present: &User| present.identity(issuer, subject).is_some();
    let change = move |present: User| match present.identity(issuer, subject).map(&said) {
        Some(identity) => present.with_identity(identity),
        None => present,
    };
    let changed = records.change_person(user, now, change).await?;
    Ok(changed.filter(has_it))
}

/// Names for a new person, the best first: an address that the provider answers for, else what the
/// person is called there, with the provider's name, so that nobody gets a name that means somebody
/// else here. None is given twice, and the last one is the person's own: names never run out.
fn names(provider: &Provider, provider_user: &ProviderUser) -> impl Iterator<Item = String> {
    let address = provider_user.profile.address.as_ref();
    let address = address.filter(|address| address.verified && address.of_domain);
    let address = address.filter(|_| !provider.is_github());
    let address = address.and_then(|address| LoginName::parse(&address.text));
    let base = match &address {
        Some(name) => name.as_str().to_owned(),
        None => format!("{}@{}", handle(provider_user), provider.name),
    };
    let own = provider.name.clone();
    let last = format!("{}@{own}", person_name(provider_user));
    let numbered = (1..=NAMES).map(move |number| match number {
        1 => base.clone(),
        2 => format!("{base}+{own}"),
        number => format!("{base}+{own}{number}"),
    });
    let all = numbered.chain([last]);
    all.filter(|name| LoginName::parse(name).is_some())
}

/// What the person is called at the provider, as far as a login name can say it.
fn handle(provider_user: &ProviderUser) -> String {
    const LONGEST: usize = 24;
    let called = provider_user.handle.as_deref().unwrap_or_default();
    let called = called.split('@').next().unwrap_or_default();
    let plain = called.chars().take(LONGEST);
    let plain: String = plain
        .map(|c| {
            if c.is_ascii_alphanumeric() || ".-_".contains(c) {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    if plain.is_empty() {
        person_name(provider_user)
    } else {
        plain
    }
}

/// A name that nobody else of any provider has, and that says nothing.
fn person_name(provider_user: &ProviderUser) -> String {
    const LENGTH: usize = 24;
    let (issuer, subject) = (&provider_user.issuer, &provider_user.profile.subject);
    let hash = Secret::presented(format!("{} {issuer} {subject}", issuer.len())).hash();
    let short: String = hash.as_str().chars().take(LENGTH).collect();
    format!("person-{}", short.to_lowercase())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::provider::examples::{
        HOUR, NOW, identity as account, person, provider, provider_user,
    };
    use crate::provider::{GitHub, Protocol};
    use gateway_core::login_rules::MailAddress;
    use gateway_store::{Key, Memory};
    use rand::rngs::OsRng;

    fn address(verified: bool) -> MailAddress {
        MailAddress {
            text: "alice@example.com".into(),
            verified,
            of_domain: true,
        }
    }

    #[tokio::test]
    async fn a_name_whose_record_cannot_be_read_is_nobodys_to_take() {
        let (corp, bob) = (provider("*"), provider_user(None, "bob"));
        let later = br#"{"id":["x"],"format":2,"written_by":"gateway 9.0.0"}"#;
        for bytes in [&b"{"[..], later] {
            let records = Records::new(Arc::new(Memory::new()));
            let key = Key::user("bob@corp");
            records.store().put(&key, bytes, None).await.unwrap();
            let user = known_or_new(&records, &corp, &bob, NOW, &mut OsRng).await;
            assert_eq!(user.unwrap().name, "bob@corp+corp");
            let kept = records.store().get(&key, NOW).await.unwrap();
            assert_eq!(kept.as_deref(), Some(bytes));
        }
    }

    #[test]
    fn what_a_provider_leaves_unsaid_holds_for_its_time_and_what_it_says_counts_at_once() {
        let corp = provider("*");
        let before = Identity {
            address: Some(address(true)),
            ..account(&["engineering"])
        };
        let later = NOW + HOUR / 2;
        let mut found = provider_user(None, "alice");
        found.profile.groups = ["board".to_owned(), "unknown".to_owned()].into();
        let whole = identity(&corp, &found, Some(&before), later);
        let kept = |identity: &Identity| (identity.groups.clone(), identity.address.is_some());
        let said = (vec!["board".to_owned()], false);
        assert_eq!((kept(&whole), whole.confirmed), (said.clone(), later));
        assert_eq!(whole, renewed_identity(&corp, &found, &before, later));
        found.profile.groups_incomplete = true;
        found.profile.address_unsaid = true;
        let both = (vec!["board".to_owned(), "engineering".to_owned()], true);
        for merged in [
            identity(&corp, &found, Some(&before), later),
            renewed_identity(&corp, &found, &before, later),
        ] {
            assert_eq!((kept(&merged), merged.confirmed), (both.clone(), NOW));
        }
        // At its end a login begins anew, and an answer to a refresh token confirms nothing.
        let over = NOW + HOUR;
        let anew = identity(&corp, &found, Some(&before), over);
        assert_eq!((kept(&anew), anew.confirmed), (said, over));
        let renewed = renewed_identity(&corp, &found, &before, over);
        assert_eq!(renewed.confirmed, NOW);
        // Where nothing was said before, nothing is kept.
        let first = identity(&corp, &found, Some(&account(&[])), later);
        assert_eq!(first.confirmed, later);
    }

    #[test]
    fn a_refresh_token_is_kept_only_where_what_was_said_ends() {
        let ends = provider("*");
        let never = Provider {
            max_age: None,
            ..provider("*")
        };
        let mut found = provider_user(None, "alice");
        found.refresh = Some("encrypted".to_owned());
        for (corp, is_kept) in [(ends, true), (never, false)] {
            let identity = identity(&corp, &found, None, NOW);
            assert_eq!(identity.refresh.is_some(), is_kept);
        }
    }

    #[test]
    fn a_bare_address_is_a_name_only_where_the_provider_answers_for_it() {
        let corp = provider("*");
        let first = |corp: &Provider, found: &ProviderUser| names(corp, found).next().unwrap();
        let mut found = provider_user(Some("bob@example.com"), "Bob Ross@evil.example");
        assert_eq!(first(&corp, &found), "bob@example.com");
        let address = found.profile.address.clone().unwrap();
        for not_vouched in [
            MailAddress {
                verified: false,
                ..address.clone()
            },
            MailAddress {
                of_domain: false,
                ..address.clone()
            },
        ] {
            found.profile.address = Some(not_vouched);
            assert_eq!(first(&corp, &found), "bob-ross@corp");
        }
        found.profile.address = Some(address);
        let github = Provider {
            protocol: Protocol::GitHub(GitHub {
                site: "https://github.com".parse().unwrap(),
                api: "https://api.github.com".parse().unwrap(),
            }),
            ..corp
        };
        assert_eq!(first(&github, &found), "bob-ross@corp");
    }

    #[tokio::test]
    async fn what_was_removed_meanwhile_does_not_come_back() {
        let records = Records::new(std::sync::Arc::new(gateway_store::Memory::new()));
        let (alice, account) = (person("$argon2id$", &["board"]), account(&["board"]));
        assert!(records.add_user(&alice, NOW).await.unwrap());
        let names = (account.issuer.as_str(), account.subject.as_str());
        let said = |_: &Identity| account.clone();
        let confirmed = confirm(&records, &alice, names, said, NOW).await.unwrap();
        assert_eq!(confirmed.as_ref(), Some(&alice));
        let without = |user: User| user.without_identity(&account.issuer, &account.subject);
        let changed = records.change_user(&alice.name, NOW, without).await;
        let removed = changed.unwrap().unwrap();
        let confirmed = confirm(&records, &alice, names, said, NOW).await.unwrap();
        assert_eq!(confirmed, None);
        let kept = records.user(&alice.name, NOW).await.unwrap();
        assert_eq!(kept.as_ref(), Some(&removed));
        let with = |user: User| user.with_identity(account.clone());
        let added = records.change_person(&removed, NOW, with).await.unwrap();
        assert_eq!(added, Some(alice));
    }

    #[tokio::test]
    async fn names_never_run_out() {
        let records = Records::new(std::sync::Arc::new(gateway_store::Memory::new()));
        let corp = provider("*");
        let found = provider_user(Some("bob@example.com"), "bob");
        for name in names(&corp, &found).take(NAMES) {
            let other = User::new(UserId::draw(&mut OsRng), &name, "hash", NOW);
            assert!(records.add_user(&other, NOW).await.unwrap(), "{name}");
        }
        let made = known_or_new(&records, &corp, &found, NOW, &mut OsRng).await;
        let made = made.unwrap();
        assert!(made.name.starts_with("person-"), "{}", made.name);
        let again = known_or_new(&records, &corp, &found, NOW, &mut OsRng).await;
        assert_eq!(again.unwrap().id, made.id);
        assert!(LoginName::parse(&format!("{}@{}", person_name(&found), "x".repeat(32))).is_some());
    }
}
