//! Device authorization (RFC 8628): an app without a browser asks, a person answers in a browser
//! elsewhere, the app comes for the answer.
//!
//! Owns: the codes, what is kept of a request, and what becomes of it. Not: who may ask
//! (`oauth::device`), that one request takes the answer, which the store promises.

use std::net::IpAddr;
use std::time::Duration;

use rand::RngCore;
use serde::{Deserialize, Serialize};

use super::{Grant, GrantId, Tools, UserId};
use crate::client::{ClientId, Fingerprint};
use crate::clock::Timestamp;
use crate::protocol::resource::Resource;
use crate::protocol::scope::Scope;
use crate::reason::Reason;
use crate::secret::{Secret, SecretHash};

/// How long a person has.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// How long an app waits between two questions.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Letters of a code that a person types: without vowels, so that no words come of it.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// So many of them.
const LENGTH: usize = 8;

/// The code that a person types. Of its letters there are 20 to the 8th; whoever guesses is counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserCode(String);

impl UserCode {
    /// A new one.
    pub fn draw(random: &mut dyn RngCore) -> Self {
        let mut letters = String::with_capacity(LENGTH);
        while letters.len() < LENGTH {
            let mut byte = [0];
            random.fill_bytes(&mut byte);
            // 240 is the largest multiple of 20 in a byte: what is above would favour some letters.
            if byte[0] < 240 {
                letters.push(char::from(LETTERS[usize::from(byte[0]) % LETTERS.len()]));
            }
        }
        Self(letters)
    }

    /// One that somebody typed, in any case, with whatever stands between its letters.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 64 {
            return None;
        }
        let letters: String = text
            .chars()
            .filter(|c| !matches!(c, ' ' | '-' | '\u{2010}'..='\u{2015}' | '.' | '_'))
            .map(|c| c.to_ascii_uppercase())
            .collect();
        let is_code = letters.len() == LENGTH && letters.bytes().all(|b| LETTERS.contains(&b));
        is_code.then_some(Self(letters))
    }

    /// As it is shown: in two halves.
    pub fn shown(&self) -> String {
        let (first, second) = self.0.split_at(LENGTH / 2);
        format!("{first}-{second}")
    }

    /// What it is found by.
    pub fn hash(&self) -> SecretHash {
        Secret::presented(self.0.as_str()).hash()
    }
}

/// What an app asked for, and what became of it. Kept under the hash of its device code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAuthorization {
    /// Who asks.
    pub client: ClientId,
    /// What that client was then, if it can change.
    pub client_fingerprint: Option<Fingerprint>,
    /// Where it wants to be let in.
    pub resource: Resource,
    /// For what.
    pub scope: Scope,
    /// What the person types.
    pub user_code: UserCode,
    /// Where it asked from.
    pub address: IpAddr,
    /// When.
    pub asked: Timestamp,
    /// Until when it can be answered and fetched.
    pub expires: Timestamp,
    /// What the person said.
    pub answer: Option<Answer>,
}

/// What a person said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// No.
    Denied,
    /// This.
    Allowed(Box<Allowed>),
}

/// What a person allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// Names what comes of it.
    pub grant: GrantId,
    /// Who allowed it.
    pub user: UserId,
    /// That person's name.
    pub user_name: String,
    /// With which tools.
    pub tools: Tools,
    /// When.
    pub at: Timestamp,
}

/// Who comes for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Presenter<'a> {
    /// Authenticated.
    pub client: &'a ClientId,
    /// What it is now.
    pub fingerprint: Option<&'a Fingerprint>,
    /// The resource that it names, if it does.
    pub resource: Option<&'a Resource>,
}

impl DeviceAuthorization {
    /// Whether a person can still answer it.
    pub fn is_open(&self, now: Timestamp) -> bool {
        now < self.expires && self.answer.is_none()
    }

    /// What was allowed, if anything was.
    pub fn allowed(self) -> Option<Allowed> {
        match self.answer {
            Some(Answer::Allowed(allowed)) => Some(*allowed),
            Some(Answer::Denied) | None => None,
        }
    }

    /// What was allowed, for whoever asked.
    pub fn answered(&self, presenter: Presenter<'_>, now: Timestamp) -> Result<&Allowed, Reason> {
        if *presenter.client != self.client {
            return Err(Reason::CodeClientMismatch);
        }
        if presenter.fingerprint != self.client_fingerprint.as_ref() {
            return Err(Reason::ClientChanged);
        }
        if presenter
            .resource
            .is_some_and(|resource| *resource != self.resource)
        {
            return Err(Reason::ResourceMismatch);
        }
        if now >= self.expires {
            return Err(Reason::DeviceCodeExpired);
        }
        match &self.answer {
            None => Err(Reason::DevicePending),
            Some(Answer::Denied) => Err(Reason::UserDenied),
            Some(Answer::Allowed(allowed)) => Ok(allowed),
        }
    }

    /// The grant that comes of what was allowed. `lives`: how long an access token of it lives.
    pub fn grant(&self, allowed: &Allowed, lives: Duration, now: Timestamp) -> Grant {
        Grant {
            id: allowed.grant.clone(),
            user: allowed.user.clone(),
            user_name: allowed.user_name.clone(),
            client: self.client.clone(),
            client_fingerprint: self.client_fingerprint.clone(),
            resource: self.resource.clone(),
            scope: self.scope.clone(),
            tools: allowed.tools.clone(),
            created: allowed.at,
            redeemed: Some(now),
            expires: now + lives,
            refresh: None,
            personal: None,
            allowed_by: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn asked() -> DeviceAuthorization {
        DeviceAuthorization {
            client: ClientId::new("c_1"),
            client_fingerprint: None,
            resource: Resource::from_token("https://mcp.example.com/mcp"),
            scope: Scope::parse("mcp"),
            user_code: UserCode::parse("BCDF-GHJK").unwrap(),
            address: [192, 0, 2, 1].into(),
            asked: NOW,
            expires: NOW + LIFETIME,
            answer: None,
        }
    }

    #[test]
    fn a_code_is_read_however_a_person_types_it() {
        let code = UserCode::parse("BCDF-GHJK").unwrap();
        assert_eq!(code.shown(), "BCDF-GHJK");
        for typed in ["bcdfghjk", " BCDF GHJK ", "bc-df.gh_jk", "BCDF–GHJK"] {
            assert_eq!(UserCode::parse(typed), Some(code.clone()), "{typed}");
        }
        for wrong in [
            "",
            "BCDFGHJ",
            "BCDFGHJKL",
            "ABCDFGHJ",
            "BCDFGHJ1",
            "ÄCDFGHJK",
            "bcdf/ghjk",
        ] {
            assert_eq!(UserCode::parse(wrong), None, "{wrong}");
        }
        assert_eq!(UserCode::parse(&"-".repeat(1000)), None);
        for _ in 0..100 {
            let drawn = UserCode::draw(&mut rand::rngs::OsRng);
            assert_eq!(UserCode::parse(&drawn.shown()), Some(drawn));
        }
    }

    #[test]
    fn only_whoever_asked_gets_the_answer_and_only_in_time() {
        let client = ClientId::new("c_1");
        let own = Presenter {
            client: &client,
            fingerprint: None,
            resource: None,
        };
        let pending = asked();
        assert_eq!(pending.answered(own, NOW), Err(Reason::DevicePending));
        let allowed = Allowed {
            grant: GrantId::new("g_1"),
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            tools: Tools::All,
            at: NOW,
        };
        let answered = DeviceAuthorization {
            answer: Some(Answer::Allowed(Box::new(allowed.clone()))),
            ..asked()
        };
        assert!(pending.is_open(NOW) && !answered.is_open(NOW));
        assert!(!pending.is_open(NOW + LIFETIME));
        assert_eq!(answered.answered(own, NOW), Ok(&allowed));
        let late = answered.answered(own, NOW + LIFETIME);
        assert_eq!(late, Err(Reason::DeviceCodeExpired));
        let (other, elsewhere) = (
            ClientId::new("c_2"),
            Resource::from_token("https://mcp.example.com/other/mcp"),
        );
        for (presenter, why) in [
            (
                Presenter {
                    client: &other,
                    ..own
                },
                Reason::CodeClientMismatch,
            ),
            (
                Presenter {
                    resource: Some(&elsewhere),
                    ..own
                },
                Reason::ResourceMismatch,
            ),
        ] {
            assert_eq!(answered.answered(presenter, NOW), Err(why));
        }
        let denied = DeviceAuthorization {
            answer: Some(Answer::Denied),
            ..asked()
        };
        assert_eq!(denied.answered(own, NOW), Err(Reason::UserDenied));
        let grant = answered.grant(&allowed, Duration::from_secs(60), NOW);
        assert_eq!((grant.id, grant.tools), (allowed.grant, Tools::All));
        assert_eq!(grant.expires, NOW + Duration::from_secs(60));
    }
}
