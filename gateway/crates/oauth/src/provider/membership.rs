//! What a person's accounts at providers are good for at this moment: whether the person may still
//! come in, in which groups the person is, and until when that may be said.

use super::providers::Providers;
use crate::ways_in::WaysIn;
use gateway_core::clock::Timestamp;
use gateway_core::login_rules::{self, Profile};
use gateway_core::reason::Reason;
use gateway_store::{Identity, User};

/// What holds of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Groups of providers, as policies' groups take them: `corp:engineering`.
    pub(crate) groups: Vec<String>,
    /// Until when it holds, if it ends.
    pub(crate) until: Option<Timestamp>,
}

impl Membership {
    /// When what is given by it ends: at `latest`, and no later than it holds.
    pub(crate) fn end(&self, latest: Timestamp) -> Timestamp {
        self.until.map_or(latest, |until| until.min(latest))
    }
}

/// What holds of a person now; or why the person must log in with a provider again, or may not any
/// more.
pub(crate) fn membership(
    ways: WaysIn<'_>,
    user: &User,
    now: Timestamp,
) -> Result<Membership, Reason> {
    judge(ways.providers, user, ways.is_local(user), now)
}

/// Who may log in with a password or a passkey needs no provider, and keeps no groups of one that has
/// not said so lately.
fn judge(
    providers: &Providers,
    user: &User,
    is_local: bool,
    now: Timestamp,
) -> Result<Membership, Reason> {
    let mut membership = Membership::default();
    let mut good = 0;
    let mut is_old = false;
    for identity in &user.identities {
        let Some(provider) = providers.of_account(identity) else {
            continue;
        };
        if login_rules::judge(&provider.allow, &profile(identity)).is_err() {
            continue;
        }
        let until = provider.max_age.map(|age| identity.confirmed + age);
        if until.is_some_and(|until| now >= until) {
            is_old = true;
            continue;
        }
        good += 1;
        let groups = identity.groups.iter();
        let groups = groups.filter(|group| provider.known_groups.contains(*group));
        let groups = groups.map(|group| format!("{}:{group}", provider.name));
        membership.groups.extend(groups);
        membership.until = [membership.until, until].into_iter().flatten().min();
    }
    if good == 0 && !is_local {
        return Err(match (user.identities.is_empty(), user.password()) {
            _ if is_old => Reason::LoginAgain,
            (false, _) => Reason::PersonNotAllowed,
            (true, Some(_)) => Reason::PasswordLoginOff,
            // Nothing is left of how the person came.
            (true, None) => Reason::LoginAgain,
        });
    }
    // Nothing that ends is said of the person.
    if is_local && membership.groups.is_empty() {
        return Ok(Membership::default());
    }
    Ok(membership)
}

/// Whether a person could log in with an account at a provider, as things are configured.
pub(crate) fn has_account_that_lets_in(providers: &Providers, user: &User) -> bool {
    let lets_in = |account: &Identity| {
        let provider = providers.of_account(account);
        provider.is_some_and(|it| login_rules::judge(&it.allow, &profile(account)).is_ok())
    };
    user.identities.iter().any(lets_in)
}

/// What an account's provider said, for the rules.
pub(super) fn profile(identity: &Identity) -> Profile {
    Profile {
        subject: identity.subject.clone(),
        address: identity.address.clone(),
        groups: identity.groups.iter().cloned().collect(),
        ..Profile::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::examples::{HOUR, NOW, open_id, person, provider};
    use crate::provider::{Flavour, Protocol, Provider};
    use crate::server::Settings;
    use gateway_core::grants::UserId;

    fn providers(allow: &str) -> Providers {
        Providers::new(vec![provider(allow)])
    }

    #[test]
    fn groups_hold_for_their_time_and_then_the_person_logs_in_again() {
        let providers = providers("group:engineering");
        let alice = person("", &["engineering", "gone"]);
        let holds = Membership {
            groups: vec!["corp:engineering".into()],
            until: Some(NOW + HOUR),
        };
        let last = NOW + HOUR - std::time::Duration::from_millis(1);
        assert_eq!(judge(&providers, &alice, false, last), Ok(holds));
        let after = judge(&providers, &alice, false, NOW + HOUR);
        assert_eq!(after, Err(Reason::LoginAgain));
    }

    #[test]
    fn an_account_of_another_directory_is_none_of_the_configured_one() {
        let of = |tenant: &str| format!("https://login.microsoftonline.com/{tenant}/v2.0");
        let [own, other] =
            ["1", "2"].map(|digit| of("11111111-2222-3333-4444-55555555555_").replace('_', digit));
        let entra = Provider {
            protocol: Protocol::OpenId(open_id(&own, Flavour::Entra)),
            ..provider("*")
        };
        let providers = Providers::new(vec![entra]);
        for (issuer, is_let_in) in [(own, true), (other, false)] {
            let mut alice = person("", &[]);
            alice.identities[0].issuer = issuer;
            assert_eq!(judge(&providers, &alice, false, NOW).is_ok(), is_let_in);
        }
    }

    #[test]
    fn whom_no_rule_lets_in_any_more_is_out_and_a_password_needs_no_provider() {
        let providers = providers("group:board");
        let denied = Err(Reason::PersonNotAllowed);
        assert_eq!(
            judge(&providers, &person("", &["engineering"]), false, NOW),
            denied
        );
        let local = person("$argon2id$", &["engineering"]);
        assert_eq!(
            judge(&providers, &local, true, NOW),
            Ok(Membership::default())
        );
        let both = person("$argon2id$", &["board"]);
        assert_eq!(
            judge(&providers, &both, true, NOW).unwrap().groups,
            ["corp:board"]
        );
        let later = judge(&providers, &both, true, NOW + HOUR);
        assert_eq!(later, Ok(Membership::default()));
        let unconfigured = Providers::new(Vec::new());
        assert_eq!(
            judge(&unconfigured, &person("", &["board"]), false, NOW),
            denied
        );
    }

    #[test]
    fn a_provider_that_got_another_name_is_known_by_its_issuer_and_a_name_stands_for_one() {
        let alice = person("", &["board"]);
        let renamed = Provider {
            name: "company".into(),
            ..provider("group:board")
        };
        let other = Provider {
            protocol: Protocol::OpenId(open_id("https://other.example.com", Flavour::Plain)),
            ..provider("*")
        };
        let alone = Providers::new(vec![other.clone()]);
        let denied = Err(Reason::PersonNotAllowed);
        assert_eq!(judge(&alone, &alice, false, NOW), denied);
        let both = Providers::new(vec![other, renamed]);
        let membership = judge(&both, &alice, false, NOW).unwrap();
        assert_eq!(membership.groups, ["company:board"]);
    }

    #[test]
    fn a_password_that_is_not_taken_is_none() {
        let providers = providers("group:board");
        let left = person("$argon2id$", &["engineering"]);
        let denied = Err(Reason::PersonNotAllowed);
        assert_eq!(judge(&providers, &left, false, NOW), denied);
        let member = person("$argon2id$", &["board"]);
        let later = judge(&providers, &member, false, NOW + HOUR);
        assert_eq!(later, Err(Reason::LoginAgain));
        let local = User::new(UserId::new("u_2"), "bob", "$argon2id$", NOW);
        let off = Err(Reason::PasswordLoginOff);
        assert_eq!(judge(&providers, &local, false, NOW), off);
        let nobody = User::new(UserId::new("u_3"), "carl", "", NOW);
        let again = Err(Reason::LoginAgain);
        assert_eq!(judge(&providers, &nobody, false, NOW), again);
        assert_eq!(
            judge(&providers, &local, true, NOW),
            Ok(Membership::default())
        );
    }

    #[test]
    fn a_password_is_taken_of_all_or_of_the_owner_of_the_configuration() {
        let local = person("$argon2id$", &[]);
        let owner = User {
            configured: true,
            ..local.clone()
        };
        for (password_login, expected) in
            [(true, [true, true, false]), (false, [false, true, false])]
        {
            let settings = Settings {
                password_login,
                ..crate::tests::server().settings
            };
            let people = [&local, &owner, &person("", &[])];
            assert_eq!(
                people.map(|user| settings.takes_password_of(user)),
                expected
            );
        }
    }
}
