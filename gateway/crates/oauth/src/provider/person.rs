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

/// What is kept of what the provider said.
pub(super) fn identity(
    provider: &Provider,
    provider_user: &ProviderUser,
    now: Timestamp,
) -> Identity {
    let groups = provider_user.profile.groups.iter();
    let known = groups.filter(|group| provider.known_groups.contains(*group));
    Identity {
        provider: provider.name.clone(),
        issuer: provider_user.issuer.clone(),
        subject: provider_user.profile.subject.clone(),
        address: provider_user.profile.address.clone(),
        groups: known.cloned().collect(),
        confirmed: now,
        refresh: provider_user.refresh.clone(),
    }
}

/// The person whose account this is, with what was said now; a first login makes the person.
pub(super) async fn known_or_new(
    records: &Records,
    provider: &Provider,
    provider_user: &ProviderUser,
    now: Timestamp,
    random: &mut (dyn RngCore + Send),
) -> Result<User, StoreError> {
    let identity = identity(provider, provider_user, now);
    let known = records.user_of_identity(&identity.issuer, &identity.subject, now);
    if let Some(user) = known.await? {
        // Many give a refresh token at the first consent alone.
        let before = user.identity(&identity.issuer, &identity.subject);
        let before = before.and_then(|before| before.refresh.clone());
        let identity = Identity {
            refresh: identity.refresh.clone().or(before),
            ..identity.clone()
        };
        if let Some(user) = confirm(records, &user, &identity, now).await? {
            return Ok(user);
        }
    }
    let id = UserId::draw(random);
    for name in names(provider, provider_user) {
        let new = User::new(id.clone(), &name, "", now).with_identity(identity.clone());
        let user = match records.add_user(&new, now).await? {
            true => new,
            // Somebody else's name, or another press of this person made the record just now.
            false => match records.user(&name, now).await {
                Ok(Some(user)) if user.identity(&identity.issuer, &identity.subject).is_some() => {
                    user
                }
                Ok(_) => continue,
                // Whoever it is, nobody else gets the name.
                Err(error) if error.concerns_one_record() => continue,
                Err(error) => return Err(error),
            },
        };
        records.put_identity(&identity, &user).await?;
        return Ok(user);
    }
    Err(StoreError::Conflict(KeyKind::User))
}

/// Notes what the provider said in the record of a person whose account it is.
pub(super) async fn confirm(
    records: &Records,
    user: &User,
    identity: &Identity,
    now: Timestamp,
) -> Result<Option<User>, StoreError> {
    let id = user.id.clone();
    let change = |user: User| match user.id == id {
        true => user.with_identity(identity.clone()),
        false => user,
    };
    let changed = records.change_user(&user.name, now, change).await?;
    Ok(changed.filter(|user| user.id == id))
}

/// Names for a new person, the best first: an address that the provider answers for, else what the
/// person is called there, with the provider's name, so that nobody gets a name that means somebody
/// else here. None is given twice.
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
    let numbered = (1..=NAMES).map(move |number| match number {
        1 => base.clone(),
        2 => format!("{base}+{own}"),
        number => format!("{base}+{own}{number}"),
    });
    numbered.filter(|name| LoginName::parse(name).is_some())
}

/// What the person is called at the provider, as far as a login name can say it.
fn handle(provider_user: &ProviderUser) -> String {
    const LONGEST: usize = 24;
    let called = provider_user.handle.as_deref().unwrap_or_default();
    let called = called.split('@').next().unwrap_or_default();
    let plain = called.chars().take(LONGEST);
    let plain: String = plain
        .map(|c| match c.is_ascii_alphanumeric() || ".-_".contains(c) {
            true => c.to_ascii_lowercase(),
            false => '-',
        })
        .collect();
    match plain.is_empty() {
        false => plain,
        true => {
            let hash = Secret::presented(provider_user.profile.subject.as_str()).hash();
            let short = hash.as_str().chars().take(10);
            format!("person-{}", short.collect::<String>().to_lowercase())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand::rngs::OsRng;

    use super::*;
    use crate::provider::settings::Flavour;
    use crate::provider::{Authentication, OnLeave, OpenId, Protocol};
    use gateway_core::login_rules::Recognised;
    use gateway_store::{Key, Memory};

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    #[tokio::test]
    async fn a_name_whose_record_cannot_be_read_is_nobodys_to_take() {
        let records = Records::new(Arc::new(Memory::new()));
        let provider = Provider {
            name: "corp".into(),
            words: "Example".into(),
            protocol: Protocol::OpenId(OpenId {
                issuer: "https://login.example.com".into(),
                flavour: Flavour::Plain,
                scopes: Vec::new(),
                groups_claim: None,
            }),
            client_id: "c".into(),
            authentication: Authentication::Secret("s".into()),
            allow: Vec::new(),
            known_groups: std::collections::BTreeSet::new().into_iter().collect(),
            max_age: None,
            on_leave: OnLeave::Keep,
        };
        let told = Told {
            issuer: "https://login.example.com".to_owned(),
            who: Recognised {
                subject: "s_1".to_owned(),
                ..Recognised::default()
            },
            handle: Some("bob".to_owned()),
            refresh: None,
        };
        let later = br#"{"id":["x"],"format":2,"written_by":"gateway 9.0.0"}"#;
        for bytes in [&b"{"[..], later] {
            let key = Key::user("bob@corp");
            records.store().put(&key, bytes, None).await.unwrap();
            let user = known_or_new(&records, &provider, &told, NOW, &mut OsRng).await;
            assert_eq!(user.unwrap().name, "bob@corp+corp");
            let kept = records.store().get(&key, NOW).await.unwrap();
            assert_eq!(kept.as_deref(), Some(bytes));
        }
    }
}
