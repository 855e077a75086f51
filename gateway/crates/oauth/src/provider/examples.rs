//! A provider and a person of it, for tests.

use std::time::Duration;

use super::openid::ProviderUser;
use super::settings::{Authentication, Flavour, OnLeave, OpenId, Protocol, Provider};
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::login_rules::{AllowRule, MailAddress, Profile};
use gateway_store::{Identity, User};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_000_000);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const ISSUER: &str = "https://login.example.com";

pub(super) fn open_id(issuer: &str, flavour: Flavour) -> OpenId {
    OpenId {
        issuer: issuer.to_owned(),
        flavour,
        scopes: Vec::new(),
        groups_claim: Some("groups".into()),
    }
}

/// `corp`, which goes by two groups that hold for an hour.
pub(crate) fn provider(allow: &str) -> Provider {
    Provider {
        name: "corp".into(),
        words: "Example".into(),
        protocol: Protocol::OpenId(open_id(ISSUER, Flavour::Plain)),
        client_id: "c".into(),
        authentication: Authentication::Secret("s".into()),
        allow: vec![AllowRule::parse(allow).unwrap()],
        known_groups: ["engineering".into(), "board".into()].into(),
        max_age: Some(HOUR),
        on_leave: OnLeave::Keep,
        id_jag: None,
    }
}

pub(super) fn identity(groups: &[&str]) -> Identity {
    Identity {
        provider: "corp".into(),
        issuer: ISSUER.into(),
        subject: "s".into(),
        address: None,
        name: None,
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        confirmed: NOW,
        refresh: None,
    }
}

pub(crate) fn person(password: &str, groups: &[&str]) -> User {
    let user = User::new(UserId::new("u_1"), "alice", password, NOW);
    user.with_identity(identity(groups))
}

/// What the provider says of a person with a verified address, if any.
pub(super) fn provider_user(address: Option<&str>, handle: &str) -> ProviderUser {
    ProviderUser {
        issuer: ISSUER.into(),
        handle: Some(handle.to_owned()),
        refresh: None,
        no_user_info: None,
        profile: Profile {
            subject: "s".into(),
            address: address.map(|text| MailAddress {
                text: text.to_owned(),
                verified: true,
                of_domain: true,
            }),
            ..Profile::default()
        },
    }
}
