//! Who may log in with an identity provider: the operator's rules, judged over what the provider says
//! of a person.
//!
//! Owns: the rules and their judgement. Not: how the provider came to say it (`oauth::provider`), who
//! that person is here (the pair of issuer and subject, never an address).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// More groups of one person than this are not looked at: a provider's answer is bounded, and so is
/// what is kept of it.
pub const MOST_GROUPS: usize = 10_000;

/// What a provider says of a person who has just logged in there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Names the person at the provider, for good.
    pub subject: String,
    /// The mail address, if there is one.
    pub address: Option<MailAddress>,
    /// What the person is called, for pages.
    pub name: Option<String>,
    /// The groups of the person.
    pub groups: BTreeSet<String>,
    /// Whether the provider did not say all groups in its answer.
    pub groups_incomplete: bool,
    /// Whether it did not say whether there is an address.
    pub address_unsaid: bool,
}

/// A mail address, and what the provider knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailAddress {
    /// In lower case.
    pub text: String,
    /// Whether the provider has verified that it is the person's.
    pub verified: bool,
    /// Whether the account belongs to the domain of the address. Where anybody may open an account
    /// with any address (Google), those who left the domain keep it.
    pub of_domain: bool,
}

/// A rule that lets people in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowRule {
    /// Whoever the provider lets in.
    Everybody,
    /// Of this verified address, in lower case.
    Address(String),
    /// Of this domain, in lower case, by a verified address.
    Domain(String),
    /// In this group.
    Group(String),
}

/// What a rule lacks to let somebody in, in words for the page that says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The provider names no address.
    #[error("the provider names no address")]
    NoAddress,
    /// The provider did not say the address.
    #[error("the provider did not say the address")]
    AddressUnsaid,
    /// The provider has not verified the address.
    #[error("the provider has not verified the address")]
    Unverified,
    /// It is another address.
    #[error("it is another address")]
    OtherAddress,
    /// The account is not one of that domain.
    #[error("the account is not of that domain")]
    OtherDomain,
    /// The person is not in the group.
    #[error("not in that group")]
    NotInGroup,
    /// The provider did not say all groups.
    #[error("the provider did not say all groups")]
    GroupsIncomplete,
}

impl Missing {
    /// Whether the rule may hold all the same, as far as the provider's answer goes: nobody has left
    /// because of it.
    pub const fn is_unsaid(self) -> bool {
        matches!(self, Self::GroupsIncomplete | Self::AddressUnsaid)
    }
}

impl AllowRule {
    /// Reads `*`, `*@example.com`, `a@example.com` or `group:NAME`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            "must be an address (`a@example.com`), a domain (`*@example.com`), a group \
             (`group:NAME`), or `*` for everybody whom the provider lets in"
                .to_owned()
        };
        if text == "*" {
            return Ok(Self::Everybody);
        }
        if let Some(group) = text.strip_prefix("group:") {
            return if group.is_empty() {
                Err(wrong())
            } else {
                Ok(Self::Group(group.to_owned()))
            };
        }
        let (who, domain) = text.rsplit_once('@').ok_or_else(wrong)?;
        let is_plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic());
        if !is_plain(domain) || !is_plain(who) || domain.contains('*') {
            return Err(wrong());
        }
        match who {
            "*" => Ok(Self::Domain(domain.to_ascii_lowercase())),
            who if who.contains('*') => Err(wrong()),
            _ => Ok(Self::Address(text.to_ascii_lowercase())),
        }
    }

    /// Whether it lets somebody in, or what it lacks.
    fn judge(&self, profile: &Profile) -> Result<(), Missing> {
        match self {
            Self::Everybody => Ok(()),
            Self::Group(group) if profile.groups.contains(group) => Ok(()),
            Self::Group(_) if profile.groups_incomplete => Err(Missing::GroupsIncomplete),
            Self::Group(_) => Err(Missing::NotInGroup),
            Self::Address(_) | Self::Domain(_) => {
                let none = if profile.address_unsaid {
                    Missing::AddressUnsaid
                } else {
                    Missing::NoAddress
                };
                let address = profile.address.as_ref().ok_or(none)?;
                let domain = address.text.rsplit_once('@').map_or("", |(_, of)| of);
                match self {
                    Self::Address(text) if *text != address.text => Err(Missing::OtherAddress),
                    Self::Domain(of) if of != domain => Err(Missing::OtherDomain),
                    _ if !address.verified => Err(Missing::Unverified),
                    Self::Domain(_) if !address.of_domain => Err(Missing::OtherDomain),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// As the configuration writes it.
impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("*"),
            Self::Address(address) => f.write_str(address),
            Self::Domain(domain) => write!(f, "*@{domain}"),
            Self::Group(group) => write!(f, "group:{group}"),
        }
    }
}

/// Lets a person in whom one of the rules lets in; else what each of them lacks. No rule lets in
/// nobody.
pub fn judge<'r>(
    rules: &'r [AllowRule],
    profile: &Profile,
) -> Result<(), Vec<(&'r AllowRule, Missing)>> {
    let mut lacking = Vec::new();
    for rule in rules {
        match rule.judge(profile) {
            Ok(()) => return Ok(()),
            Err(missing) => lacking.push((rule, missing)),
        }
    }
    Err(lacking)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(text: &str, verified: bool) -> Profile {
        Profile {
            subject: "s".into(),
            address: Some(MailAddress {
                text: text.into(),
                verified,
                of_domain: true,
            }),
            groups: ["staff".to_owned()].into(),
            ..Profile::default()
        }
    }

    fn lets_in(rules: &[&str], profile: &Profile) -> bool {
        let rules: Vec<_> = rules.iter().map(|r| AllowRule::parse(r).unwrap()).collect();
        judge(&rules, profile).is_ok()
    }

    #[test]
    fn nobody_is_let_in_without_a_rule_that_says_so() {
        let alice = person("alice@example.com", true);
        assert!(!lets_in(&[], &alice));
        for rule in ["*", "*@example.com", "Alice@Example.com", "group:staff"] {
            assert!(lets_in(&[rule], &alice), "{rule}");
            assert!(lets_in(&["*@other.org", rule], &alice), "{rule}");
        }
        for rule in [
            "*@other.org",
            "*@ample.com",
            "*@mail.example.com",
            "lice@example.com",
            "group:Staff",
            "group:board",
        ] {
            assert!(!lets_in(&[rule], &alice), "{rule}");
        }
    }

    #[test]
    fn an_address_counts_only_where_it_is_verified_and_a_domain_where_the_account_is_of_it() {
        for rule in ["*@example.com", "alice@example.com"] {
            let rules = [AllowRule::parse(rule).unwrap()];
            let unverified = person("alice@example.com", false);
            let lacking = judge(&rules, &unverified).unwrap_err();
            assert_eq!(lacking, [(&rules[0], Missing::Unverified)]);
            let nameless = Profile {
                address: None,
                ..unverified
            };
            let lacking = judge(&rules, &nameless).unwrap_err();
            assert_eq!(lacking, [(&rules[0], Missing::NoAddress)]);
        }
        let mut left = person("alice@example.com", true);
        left.address.as_mut().unwrap().of_domain = false;
        assert!(!lets_in(&["*@example.com"], &left));
        assert!(lets_in(&["alice@example.com"], &left));
    }

    #[test]
    fn what_was_not_said_is_not_what_is_missing() {
        let rules = ["group:board", "*@other.org"].map(|rule| AllowRule::parse(rule).unwrap());
        let alice = person("alice@example.com", true);
        let lacking = |profile: &Profile| {
            let lacking = judge(&rules, profile).unwrap_err();
            lacking
                .iter()
                .filter(|(_, missing)| missing.is_unsaid())
                .count()
        };
        assert_eq!(lacking(&alice), 0);
        let cut = Profile {
            groups_incomplete: true,
            ..alice.clone()
        };
        assert_eq!(lacking(&cut), 1);
        let silent = Profile {
            address: None,
            address_unsaid: true,
            ..cut
        };
        assert_eq!(lacking(&silent), 2);
        let nameless = Profile {
            address: None,
            ..alice
        };
        assert_eq!(lacking(&nameless), 0);
    }

    #[test]
    fn rules_are_read_as_written_or_refused() {
        for text in ["*", "*@example.com", "a@example.com", "group:a b/c:d"] {
            assert_eq!(AllowRule::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "@",
            "a@",
            "@b",
            "example.com",
            "a*@b.c",
            "*@*.b.c",
            "**@b.c",
            "group:",
            "staff",
        ] {
            assert!(AllowRule::parse(text).is_err(), "{text}");
        }
    }
}
