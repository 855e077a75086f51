//! Passkeys: what a browser is asked for one, what of its answer is believed, and what is kept
//! (W3C Web Authentication, level 3).
//!
//! The verification is `webauthn-rs`'s. A passkey is always discoverable and always asks its device who
//! is using it, so that it stands for name and password together; nothing is asked of its maker
//! (attestation `none`).
//!
//! What must be the same when the answer comes back, the challenge among it, travels in the form, sealed
//! for one browser and ten minutes (`form_token`): nothing is kept for a page that was only looked at.
//! An answer that holds uses the form up.

mod add;
mod ceremony;
mod login;
mod remove;

use webauthn_rs::{Webauthn, WebauthnBuilder};

use crate::form_token::{self, Purpose, SealError, Unsealed};
use crate::server::AuthorizationServer;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::resource::Issuer;
use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;
use gateway_store::{Passkey, User};
use rand::rngs::OsRng;
use url::{Host, Url};

pub(crate) use self::add::{NewPasskey, NotMade, add, registered};
use self::ceremony::Assertion;
pub(crate) use self::ceremony::Ceremony;
pub(crate) use self::login::log_in;
pub use self::remove::{Removed, remove, remove_by_operator};
pub(crate) use self::remove::{has_way_in, remove_password};

/// Passkeys of one site, or why there are none.
#[derive(Debug)]
pub struct Passkeys(Result<Site, Unavailable>);

/// What passkeys are made for and judged by.
#[derive(Debug)]
struct Site {
    /// The RP id, which is the host of the public URL. A passkey is found at this host alone.
    id: String,
    webauthn: Webauthn,
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

    fn site(&self) -> Option<&Site> {
        self.0.as_ref().ok()
    }
}

/// Seals what a form carries of a ceremony: for this browser, for `about`, for its purpose.
pub(crate) fn seal(
    server: &AuthorizationServer,
    purpose: Purpose,
    browser: &str,
    about: &str,
    ceremony: &Ceremony,
    now: Timestamp,
) -> String {
    let bound = bound(browser, about, &ceremony.state);
    form_token::seal(&server.tags, purpose, &bound, now, &mut OsRng)
}

/// Opens the seal of a form that came back.
pub(crate) fn unseal(
    server: &AuthorizationServer,
    purpose: Purpose,
    (browser, about, state): (&str, &str, &str),
    seal: &str,
    now: Timestamp,
) -> Result<Unsealed, SealError> {
    let bound = bound(browser, about, state);
    form_token::unseal(&server.tags, purpose, &bound, seal, now)
}

fn bound<'a>(browser: &'a str, about: &'a str, state: &'a str) -> [&'a [u8]; 3] {
    [browser.as_bytes(), about.as_bytes(), state.as_bytes()]
}

/// Why an answer was not taken: one reason, and the library's own words for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PasskeyRefusal {
    pub(crate) reason: Reason,
    pub(crate) cause: String,
}

impl PasskeyRefusal {
    fn new(reason: Reason, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self { reason, cause }
    }

    /// One log line, with the library's words.
    pub(crate) fn log(&self, event: &str, request: &Request) {
        log::warn!(
            event = event,
            reason = self.reason,
            hint = self.reason.remedy(),
            cause = self.cause.as_str(),
            peer:% = request.peer,
            request_id = request.request_id.as_str();
            "{}", self.reason.sentence()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
