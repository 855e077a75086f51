//! Refresh tokens: what is kept for those of a grant, and how one is exchanged (OAuth 2.1 §4.3).
//!
//! The tokens of a grant are numbered. The text of number *n* is a tag by a key of this
//! installation over the grant's seed and *n*: every replica computes the same one, parallel
//! requests get the same successor, and no token is stored. Neither the store nor the key alone
//! makes one. A store that lost its last second (a failover, a backup) logs nobody out: a newer
//! number than it remembers is still one that only this installation can have given.
//!
//! Owns: the decisions. Not: that only one writer moves a grant on at a time, which the store
//! promises.

use std::time::Duration;

use rand::RngCore;
use serde::{Deserialize, Serialize};

use crate::client::ClientId;
use crate::client::fingerprint::Fingerprint;
use crate::clock::Timestamp;
use crate::grants::{Grant, GrantId};
use crate::protocol::resource::Resource;
use crate::reason::Reason;
use crate::secret::{Secret, TagKey};
use crate::text_type::hidden;

/// What the operator decides about refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// How long the newest token lives without being used.
    pub idle: Duration,
    /// From consent to the end of the last token, however often they are used.
    pub absolute: Duration,
    /// How long a used token gives the same successor again: parallel requests, and answers that
    /// got lost. Later the same use is taken for a theft (OAuth 2.1 §4.3.1).
    pub grace: Duration,
}

/// How far ahead another replica's clock may be.
const SKEW: Duration = Duration::from_secs(30);

/// Longer texts are no refresh tokens.
const LONGEST: usize = 200;

/// A refresh token as somebody presents it: `r_{grant}.{number}.{tag}`. Nothing is proven yet.
#[derive(Clone, Debug)]
pub struct RefreshToken {
    /// The grant that it names.
    pub grant: GrantId,
    number: u64,
    text: Secret,
}

impl RefreshToken {
    /// `None` for what has not the form of one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("r_")?.splitn(3, '.');
        let (grant, number, _tag) = (parts.next()?, parts.next()?, parts.next()?);
        if text.len() > LONGEST || grant.is_empty() {
            return None;
        }
        Some(Self {
            grant: GrantId::new(grant),
            number: number.parse().ok()?,
            text: Secret::presented(text),
        })
    }

    /// Judges whether this is a token of `grant`, presented by the client that it belongs to.
    pub fn prove<'a>(
        &self,
        grant: &'a Grant,
        presenter: Presenter<'_>,
        key: &TagKey,
    ) -> Result<ProvenToken<'a>, Reason> {
        let tokens = grant.refresh.as_ref().ok_or(Reason::RefreshUnknown)?;
        let ours = tokens.text(&grant.id, self.number, key);
        if self.grant != grant.id || !ours.hash().matches(&self.text) {
            return Err(Reason::RefreshUnknown);
        }
        if *presenter.client != grant.client {
            return Err(Reason::RefreshClientMismatch);
        }
        if presenter.fingerprint != grant.client_fingerprint.as_ref() {
            return Err(Reason::ClientChanged);
        }
        Ok(ProvenToken {
            grant,
            tokens,
            number: self.number,
        })
    }
}

/// Who presents a refresh token. The client has authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Presenter<'a> {
    /// Who.
    pub client: &'a ClientId,
    /// What it is today, if it can change.
    pub fingerprint: Option<&'a Fingerprint>,
}

impl<'a> Presenter<'a> {
    /// The client that a grant belongs to, as it was allowed.
    pub fn owner(grant: &'a Grant) -> Self {
        Self {
            client: &grant.client,
            fingerprint: grant.client_fingerprint.as_ref(),
        }
    }
}

/// Random text in the grant's record, without which the key makes no token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Seed(String);

hidden!(Seed);

/// What a grant's record keeps of its refresh tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshTokens {
    seed: Seed,
    /// When the newest token was given.
    given: Timestamp,
    state: State,
}

/// Which of a grant's refresh tokens are good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum State {
    /// Number 0 was given with the first access token, and nobody has used it.
    Unused,
    /// Tokens were exchanged.
    Rotated {
        /// The number of the token that is good.
        newest: u64,
        /// Numbers below this one are past their grace.
        over: u64,
        /// Exchanges that are within it, oldest first, at most one entry a second.
        recent: Vec<Exchanged>,
    },
}

/// Exchanges of about one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Exchanged {
    /// The last of them.
    at: Timestamp,
    /// Numbers below this one had been exchanged then.
    below: u64,
}

/// Where a token stands among those of its grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    Newest,
    ExchangedJustNow,
    ExchangedBefore,
}

impl State {
    fn generation(&self, number: u64, grace: Duration, now: Timestamp) -> Generation {
        let Self::Rotated {
            newest,
            over,
            recent,
        } = self
        else {
            return Generation::Newest;
        };
        if number >= *newest {
            return Generation::Newest;
        }
        let exchanged = recent.iter().find(|exchanged| number < exchanged.below);
        match exchanged {
            Some(exchanged) if number >= *over && exchanged.is_recent(grace, now) => {
                Generation::ExchangedJustNow
            }
            _ => Generation::ExchangedBefore,
        }
    }

    /// The state after the newest token, `number`, was exchanged.
    fn rotate(self, number: u64, grace: Duration, now: Timestamp) -> Self {
        let (mut over, mut recent) = match self {
            Self::Unused => (0, Vec::new()),
            Self::Rotated { over, recent, .. } => (over, recent),
        };
        recent.retain(|exchanged| {
            let keep = exchanged.is_recent(grace, now);
            if !keep {
                over = over.max(exchanged.below);
            }
            keep
        });
        let below = number.saturating_add(1);
        match recent.last_mut() {
            Some(last) if last.at.secs() == now.secs() => {
                *last = Exchanged {
                    at: last.at.max(now),
                    below,
                };
            }
            _ => recent.push(Exchanged { at: now, below }),
        }
        Self::Rotated {
            newest: below,
            over,
            recent,
        }
    }
}

impl Exchanged {
    /// A clock that jumps back must not make the grace longer.
    fn is_recent(&self, grace: Duration, now: Timestamp) -> bool {
        now < self.at + grace && self.at <= now + SKEW
    }
}

impl RefreshTokens {
    fn text(&self, grant: &GrantId, number: u64, key: &TagKey) -> Secret {
        let parts: [&[u8]; 3] = [
            self.seed.0.as_bytes(),
            grant.as_str().as_bytes(),
            &number.to_be_bytes(),
        ];
        let tag = key.derive("refresh_token").secret(&parts);
        Secret::presented(format!("r_{grant}.{number}.{}", tag.reveal()))
    }

    /// When the newest token ends.
    fn expires(&self, created: Timestamp, lifetimes: &Lifetimes) -> Timestamp {
        (self.given + lifetimes.idle).min(created + lifetimes.absolute)
    }
}

impl Grant {
    /// The grant with its first refresh token.
    #[must_use]
    pub fn with_refresh_tokens(
        mut self,
        lifetimes: &Lifetimes,
        now: Timestamp,
        random: &mut dyn RngCore,
    ) -> Self {
        let tokens = RefreshTokens {
            seed: Seed(Secret::draw(random).reveal().to_owned()),
            given: now,
            state: State::Unused,
        };
        self.expires = self.expires.max(tokens.expires(self.created, lifetimes));
        self.refresh = Some(tokens);
        self
    }

    /// The text of the first refresh token, for a grant that has them and was just made.
    pub fn first_refresh_token(&self, key: &TagKey) -> Option<Secret> {
        let tokens = self.refresh.as_ref()?;
        Some(tokens.text(&self.id, 0, key))
    }
}

/// A refresh token together with the proof that this installation gave it to the client that
/// presents it. Made by [`RefreshToken::prove`] only.
#[derive(Debug)]
pub struct ProvenToken<'a> {
    grant: &'a Grant,
    tokens: &'a RefreshTokens,
    number: u64,
}

/// What presenting a refresh token does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// It was the newest: this is the grant from now on. Must be durable before the successor
    /// leaves, and must replace exactly the record that was judged.
    Rotated(Box<Grant>),
    /// It was exchanged just now, by a request beside this one or one whose answer got lost:
    /// nothing changes, and the successor is the same.
    Repeated,
}

impl ProvenToken<'_> {
    /// Judges the exchange for an access token that lives `access_ttl`. One that was exchanged before, and
    /// whose grace is over, is [`Reason::RefreshReused`]: the grant must be revoked.
    pub fn exchange(
        &self,
        lifetimes: &Lifetimes,
        access_ttl: Duration,
        now: Timestamp,
    ) -> Result<Exchange, Reason> {
        let (grant, tokens) = (self.grant, self.tokens);
        let generation = tokens.state.generation(self.number, lifetimes.grace, now);
        if generation == Generation::ExchangedBefore {
            return Err(Reason::RefreshReused);
        }
        if now >= tokens.expires(grant.created, lifetimes) {
            return Err(Reason::RefreshExpired);
        }
        if generation == Generation::ExchangedJustNow {
            return Ok(Exchange::Repeated);
        }
        let state = tokens.state.clone();
        let rotated = RefreshTokens {
            seed: tokens.seed.clone(),
            given: now,
            state: state.rotate(self.number, lifetimes.grace, now),
        };
        // A repetition within the grace gives an access token that ends a little later.
        let last_access = now + access_ttl + lifetimes.grace;
        let expires = rotated.expires(grant.created, lifetimes).max(last_access);
        Ok(Exchange::Rotated(Box::new(Grant {
            expires: grant.expires.max(expires),
            refresh: Some(rotated),
            ..grant.clone()
        })))
    }

    /// Judges the resource that the request names, if it names one: never another than was
    /// consented to (RFC 8707 §2.2).
    pub fn covers(&self, resource: Option<&Resource>) -> Result<(), Reason> {
        match resource {
            Some(resource) if *resource != self.grant.resource => Err(Reason::ResourceMismatch),
            _ => Ok(()),
        }
    }

    /// The token that follows.
    pub fn successor(&self, key: &TagKey) -> Secret {
        let next = self.number.saturating_add(1);
        self.tokens.text(&self.grant.id, next, key)
    }
}

#[cfg(test)]
mod tests;
