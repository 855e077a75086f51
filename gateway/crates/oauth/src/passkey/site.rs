//! The site that passkeys are made for, or why there can be none.

use url::{Host, Url};
use webauthn_rs::{Webauthn, WebauthnBuilder};

use gateway_core::protocol::resource::Issuer;
use gateway_store::{Passkey, User};

/// Passkeys of one site, or why there are none.
#[derive(Debug)]
pub struct Passkeys(Result<Site, Unavailable>);

/// What passkeys are made for and judged by.
#[derive(Debug)]
pub(super) struct Site {
    /// The RP id, which is the host of the public URL. A passkey is found at this host alone.
    pub(super) id: String,
    pub(super) webauthn: Webauthn,
}

/// Why passkeys can't work at the gateway's address. Browsers refuse them there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// It is a number: a passkey belongs to a name.
    Number,
    /// Browsers take no passkey for a name of this form.
    Name,
}

impl Passkeys {
    /// Passkeys for the host of the public URL, under the site's name for people. Answers are taken of
    /// that origin alone, port included.
    pub fn new(issuer: &Issuer, title: &str) -> Self {
        let origin = Url::parse(issuer.as_str()).map_err(|_| Unavailable::Name);
        Self(origin.and_then(|origin| {
            let Some(Host::Domain(host)) = origin.host() else {
                return Err(Unavailable::Number);
            };
            let builder = WebauthnBuilder::new(host, &origin);
            let built = builder.and_then(|builder| builder.rp_name(title).build());
            let webauthn = built.map_err(|_| Unavailable::Name)?;
            let id = host.to_owned();
            Ok(Site { id, webauthn })
        }))
    }

    /// Why there are none, if so.
    pub fn unavailable(&self) -> Option<Unavailable> {
        self.0.as_ref().err().copied()
    }

    /// How many passkeys a person could log in with now. Those of another host are none: browsers do not
    /// find them here.
    pub(crate) fn count(&self, user: &User) -> usize {
        let passkeys = user.passkeys.iter();
        passkeys.filter(|passkey| self.takes(passkey)).count()
    }

    /// Whether a person could log in with a passkey now.
    pub(crate) fn lets_in(&self, user: &User) -> bool {
        self.count(user) > 0
    }

    /// Whether a browser could find this passkey here.
    pub(crate) fn takes(&self, passkey: &Passkey) -> bool {
        self.site().is_some_and(|site| passkey.is_of(&site.id))
    }

    pub(super) fn site(&self) -> Option<&Site> {
        self.0.as_ref().ok()
    }
}

impl Unavailable {
    /// What people are told.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Number => {
                "Passkeys belong to a name, and this gateway is reached at a number: browsers refuse \
                 them here. They work once its public_url has a name; on this machine, localhost."
            }
            Self::Name => {
                "Browsers take no passkey for the name that this gateway is reached at. They work once its \
                 public_url has another."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::clock::Timestamp;
    use gateway_core::grants::UserId;

    #[test]
    fn a_passkey_lets_its_person_in_at_the_host_that_it_was_made_for() {
        let now = Timestamp::from_secs(1_000_000);
        let at = |url: &str| Passkeys::new(&Issuer::parse(url).unwrap(), "Test");
        let user = |site: Option<&str>| {
            let passkey = Passkey {
                id: "k".to_owned(),
                name: "Phone".to_owned(),
                site: site.map(str::to_owned),
                public_key: serde_json::Value::Null,
                counter: 0,
                backup_eligible: false,
                backed_up: false,
                added: now,
                last_used: None,
            };
            User::new(UserId::new("u_1"), "alice", "", now).with_passkey(passkey)
        };
        let here = at("https://mcp.example.com:8443");
        assert!(here.lets_in(&user(Some("mcp.example.com"))));
        assert!(!here.lets_in(&user(Some("old.example.com"))));
        assert!(!here.lets_in(&user(Some("example.com"))));
        assert!(here.lets_in(&user(None)), "of an earlier version");
        let number = at("https://192.0.2.1");
        assert!(!number.lets_in(&user(None)));
        assert!(!number.lets_in(&user(Some("192.0.2.1"))));
    }
}
