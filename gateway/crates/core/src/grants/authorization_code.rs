//! Authorization codes: what is kept behind one, and how it is redeemed (OAuth 2.1 §4.1.3).
//!
//! Owns: the decisions. Not: that only one caller ever gets a code fresh, which the store promises.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::{ClientId, Fingerprint};
use crate::clock::Timestamp;
use crate::grants::{Grant, GrantId, Tools, UserId};
use crate::protocol::pkce::{CodeChallenge, CodeVerifier};
use crate::protocol::resource::Resource;
use crate::protocol::scope::Scope;
use crate::reason::Reason;

/// How long a code may be redeemed (OAuth 2.1 §4.1.2 allows ten minutes; clients need seconds).
pub const LIFETIME: Duration = Duration::from_secs(60);

/// How far in the future a code may have been made: the clocks of replicas differ. A clock that
/// jumps back by more must not make codes live longer.
const SKEW: Duration = Duration::from_secs(30);

/// How long after its redemption the same request is taken for the client's own retry: a network or
/// a library that sends it twice at once. What the first was given stays good.
const RETRY: Duration = Duration::from_secs(2);

/// What a code that is presented again, with its proof, means for the grant that it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeReuse {
    /// It is denied, and nothing else: the first request is being answered, or was a moment ago.
    Retry,
    /// The grant ends (OAuth 2.1 §7.5.2).
    Replay,
    /// There is nothing left to end: its grant is over, or there never was one.
    Over,
}

/// What the store keeps under the hash of a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationCode {
    /// The grant that redeeming it makes; a replay revokes it.
    pub grant: GrantId,
    /// The client it was given to.
    pub client: ClientId,
    /// What that client was when the person allowed it, if it can change.
    #[serde(default)]
    pub client_fingerprint: Option<Fingerprint>,
    /// The redirect URI of the authorization request, byte for byte.
    pub redirect_uri: String,
    /// The S256 challenge (RFC 7636).
    pub code_challenge: CodeChallenge,
    /// The consented resource.
    pub resource: Resource,
    /// The consented scope.
    pub scope: Scope,
    /// The consented tools.
    pub tools: Tools,
    /// Who consented.
    pub user: UserId,
    /// That person's name.
    pub user_name: String,
    /// When consent was given.
    pub issued: Timestamp,
    /// [`LIFETIME`] later.
    pub expires: Timestamp,
}

/// What a token request shows to redeem a code. The client has authenticated.
#[derive(Clone, Debug)]
pub struct CodeRedemption<'a> {
    /// Who asks.
    pub client: &'a ClientId,
    /// What that client is now, if it can change.
    pub client_fingerprint: Option<&'a Fingerprint>,
    /// Optional in OAuth 2.1 (§10.2), but if sent it must be the same.
    pub redirect_uri: Option<&'a str>,
    /// The PKCE verifier; `None` if it was not sent or not of its form.
    pub verifier: Option<&'a CodeVerifier>,
    /// The canonical resource that it asks for, if it names one (RFC 8707 §2.2).
    pub resource: Option<&'a Resource>,
}

/// A code together with the proof that the one who presents it is the one it was made for. Made by
/// [`AuthorizationCode::prove`] only.
#[derive(Debug)]
pub struct ProvenCode<'a> {
    code: &'a AuthorizationCode,
}

impl AuthorizationCode {
    /// Judges who presents the code, not whether it is still in time: a replay is a replay at any
    /// time, and only one with this proof may revoke the grant (OAuth 2.1 §7.5.2), because anybody
    /// can send a code that leaked without its verifier.
    pub fn prove(&self, presented: &CodeRedemption<'_>) -> Result<ProvenCode<'_>, Reason> {
        if *presented.client != self.client {
            return Err(Reason::CodeClientMismatch);
        }
        if presented.client_fingerprint != self.client_fingerprint.as_ref() {
            return Err(Reason::ClientChanged);
        }
        if presented
            .redirect_uri
            .is_some_and(|uri| uri != self.redirect_uri)
        {
            return Err(Reason::CodeRedirectMismatch);
        }
        if !presented
            .verifier
            .is_some_and(|verifier| self.code_challenge.is_met_by(verifier))
        {
            return Err(Reason::PkceMismatch);
        }
        if presented
            .resource
            .is_some_and(|resource| *resource != self.resource)
        {
            return Err(Reason::ResourceMismatch);
        }
        Ok(ProvenCode { code: self })
    }

    /// Judges a request with the proof for a code that was taken before. `grant` is what it gave, as
    /// it is kept now. Where that is not there yet the first request is on its way; ending the grant
    /// from under it would leave nobody with anything, so one of many requests at once always wins.
    pub fn presented_again(&self, grant: Option<&Grant>, now: Timestamp) -> CodeReuse {
        match grant {
            None if now < self.expires => CodeReuse::Retry,
            None => CodeReuse::Over,
            Some(grant) => match grant.redeemed {
                Some(at) if now.since(at) <= RETRY && at.since(now) <= SKEW => CodeReuse::Retry,
                _ => CodeReuse::Replay,
            },
        }
    }

    /// Until when the code must be remembered, so that a replay is recognised for as long as the
    /// tokens live that it gave: `lifetime` is that of the longest.
    pub fn remember_until(&self, lifetime: Duration) -> Timestamp {
        self.expires + lifetime + SKEW
    }
}

impl ProvenCode<'_> {
    /// The grant that a freshly taken code makes. Its tokens live `access_ttl`.
    pub fn redeem(&self, access_ttl: Duration, now: Timestamp) -> Result<Grant, Reason> {
        let code = self.code;
        if now >= code.expires || now + SKEW < code.issued {
            return Err(Reason::CodeExpired);
        }
        Ok(Grant {
            id: code.grant.clone(),
            user: code.user.clone(),
            user_name: code.user_name.clone(),
            client: code.client.clone(),
            client_fingerprint: code.client_fingerprint.clone(),
            resource: code.resource.clone(),
            scope: code.scope.clone(),
            tools: code.tools.clone(),
            allowed_by: None,
            created: code.issued,
            redeemed: Some(now),
            expires: now + access_ttl,
            refresh: None,
            personal: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const TTL: Duration = Duration::from_secs(86_400);

    fn fingerprint(redirect_uris: &str) -> Fingerprint {
        Fingerprint {
            redirect_uris: redirect_uris.to_owned(),
            authentication: "k".to_owned(),
        }
    }

    fn code() -> AuthorizationCode {
        AuthorizationCode {
            grant: GrantId::new("g_1"),
            client: ClientId::new("c_1"),
            client_fingerprint: Some(fingerprint("a")),
            redirect_uri: "http://127.0.0.1:5000/cb".to_owned(),
            code_challenge: CodeChallenge::parse(CHALLENGE).unwrap(),
            resource: Resource::from_token("https://mcp.example.com/mcp"),
            scope: Scope::parse("mcp"),
            tools: Tools::All,
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            issued: Timestamp::from_secs(1000),
            expires: Timestamp::from_secs(1000) + LIFETIME,
        }
    }

    fn refusal(change: impl FnOnce(&mut CodeRedemption<'_>)) -> Option<Reason> {
        let (client, verifier) = (ClientId::new("c_1"), CodeVerifier::parse(VERIFIER).unwrap());
        let own = fingerprint("a");
        let mut presented = CodeRedemption {
            client: &client,
            client_fingerprint: Some(&own),
            redirect_uri: Some("http://127.0.0.1:5000/cb"),
            verifier: Some(&verifier),
            resource: None,
        };
        change(&mut presented);
        code().prove(&presented).err()
    }

    #[test]
    fn a_code_is_proven_by_its_client_with_its_verifier_only() {
        assert_eq!(refusal(|_| {}), None);
        assert_eq!(refusal(|p| p.redirect_uri = None), None);
        assert_eq!(
            refusal(|p| p.redirect_uri = Some("http://127.0.0.1:5001/cb")),
            Some(Reason::CodeRedirectMismatch)
        );
        assert_eq!(refusal(|p| p.verifier = None), Some(Reason::PkceMismatch));
        let same = code().resource;
        let other = Resource::from_token("https://mcp.example.com/mcp2");
        let other_client = ClientId::new("c_2");
        let other_verifier = CodeVerifier::parse(CHALLENGE).unwrap();
        let (client, verifier) = (ClientId::new("c_1"), CodeVerifier::parse(VERIFIER).unwrap());
        let own = fingerprint("a");
        let presented = CodeRedemption {
            client: &client,
            client_fingerprint: Some(&own),
            redirect_uri: None,
            verifier: Some(&verifier),
            resource: Some(&same),
        };
        assert!(code().prove(&presented).is_ok());
        for (presented, error) in [
            (
                CodeRedemption {
                    resource: Some(&other),
                    ..presented.clone()
                },
                Reason::ResourceMismatch,
            ),
            (
                CodeRedemption {
                    client_fingerprint: Some(&fingerprint("b")),
                    ..presented.clone()
                },
                Reason::ClientChanged,
            ),
            (
                CodeRedemption {
                    client_fingerprint: None,
                    ..presented.clone()
                },
                Reason::ClientChanged,
            ),
            (
                CodeRedemption {
                    client: &other_client,
                    ..presented.clone()
                },
                Reason::CodeClientMismatch,
            ),
            (
                CodeRedemption {
                    verifier: Some(&other_verifier),
                    ..presented
                },
                Reason::PkceMismatch,
            ),
        ] {
            assert_eq!(code().prove(&presented).err(), Some(error));
        }
    }

    #[test]
    fn a_code_lives_sixty_seconds_whatever_the_clock_does() {
        let code = code();
        let (client, verifier) = (ClientId::new("c_1"), CodeVerifier::parse(VERIFIER).unwrap());
        let own = fingerprint("a");
        let presented = CodeRedemption {
            client: &client,
            client_fingerprint: Some(&own),
            redirect_uri: None,
            verifier: Some(&verifier),
            resource: None,
        };
        let proven = code.prove(&presented).unwrap();
        let at = |secs| proven.redeem(TTL, Timestamp::from_secs(secs));
        assert!(at(1000).is_ok());
        assert!(at(1059).is_ok());
        assert_eq!(at(1060), Err(Reason::CodeExpired));
        assert!(at(970).is_ok());
        assert_eq!(at(969), Err(Reason::CodeExpired));
        assert_eq!(at(0), Err(Reason::CodeExpired));
    }

    #[test]
    fn a_retry_ends_nothing_and_a_replay_the_grant() {
        let code = code();
        let at = |millis| Timestamp::from_millis(millis);
        let grant = |redeemed| Grant {
            id: code.grant.clone(),
            user: code.user.clone(),
            user_name: code.user_name.clone(),
            client: code.client.clone(),
            client_fingerprint: None,
            resource: code.resource.clone(),
            scope: code.scope.clone(),
            tools: Tools::All,
            allowed_by: None,
            created: code.issued,
            redeemed,
            expires: code.issued + TTL,
            refresh: None,
            personal: None,
        };
        let known = grant(Some(at(1_010_000)));
        let judged = |grant: Option<&Grant>, millis| code.presented_again(grant, at(millis));
        for (millis, again) in [
            (1_010_000, CodeReuse::Retry),
            (1_012_000, CodeReuse::Retry),
            (1_012_001, CodeReuse::Replay),
            (5_000_000, CodeReuse::Replay),
            // Another replica's clock, and one that jumped.
            (980_000, CodeReuse::Retry),
            (979_999, CodeReuse::Replay),
        ] {
            assert_eq!(judged(Some(&known), millis), again, "{millis}");
        }
        assert_eq!(judged(Some(&grant(None)), 1_010_000), CodeReuse::Replay);
        assert_eq!(judged(None, 1_059_999), CodeReuse::Retry);
        assert_eq!(judged(None, 1_060_000), CodeReuse::Over);
    }

    #[test]
    fn the_grant_is_what_was_consented_to_and_not_what_is_asked_for() {
        let code = code();
        let (client, verifier) = (ClientId::new("c_1"), CodeVerifier::parse(VERIFIER).unwrap());
        let own = fingerprint("a");
        let presented = CodeRedemption {
            client: &client,
            client_fingerprint: Some(&own),
            redirect_uri: None,
            verifier: Some(&verifier),
            resource: None,
        };
        let now = Timestamp::from_secs(1010);
        let grant = code.prove(&presented).unwrap().redeem(TTL, now).unwrap();
        assert_eq!(grant.resource, code.resource);
        assert_eq!(grant.scope, code.scope);
        assert_eq!(grant.tools, code.tools);
        assert_eq!(grant.expires, now + TTL);
        assert!(code.remember_until(TTL) > grant.expires);
    }
}
