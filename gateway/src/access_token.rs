//! Access tokens: Biscuits whose authority block holds facts only (design: who, for whom, where,
//! for what, until when).
//!
//! Owns minting and verifying. Not: whether the grant behind a token was revoked (the store's
//! revocation view), what a call needs (`policy`), keys on disk (`keys`).

use std::collections::BTreeMap;
use std::time::Duration;

use biscuit_auth::builder::{Fact, boolean, int, string};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit, KeyPair, PublicKey, error};

use crate::client::ClientId;
use crate::clock::Timestamp;
pub use crate::grants::Tools;
use crate::grants::{GrantId, UserId};
use crate::protocol::bearer::BearerToken;
use crate::protocol::resource::Resource;
use crate::protocol::scope::Scope;
use crate::reason::Reason;

/// Clocks of replicas may differ by this much.
pub const LEEWAY: Duration = Duration::from_secs(30);

/// The library's own limit of 1 ms refuses valid tokens under load; our block has facts only, so
/// evaluation ends by itself long before this.
const EVALUATION_TIME: Duration = Duration::from_millis(100);

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The resource owner.
    pub user: UserId,
    /// The resource owner's login name, for the backend.
    pub user_name: String,
    /// The client it was issued to.
    pub client: ClientId,
    /// The grant it is part of: what revocation names.
    pub grant: GrantId,
    /// The audience.
    pub resource: Resource,
    /// The granted scope.
    pub scope: Scope,
    /// The granted tools.
    pub tools: Tools,
    /// When it was minted.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

/// The signing keys of this installation: the active one and those that still verify.
#[derive(Debug)]
pub struct Keys {
    active: u32,
    pairs: BTreeMap<u32, KeyPair>,
}

impl Keys {
    /// Keys by their `root_key_id`; the highest id signs. `None` if there is none.
    pub fn new(pairs: BTreeMap<u32, KeyPair>) -> Option<Self> {
        let active = *pairs.keys().next_back()?;
        Some(Self { active, pairs })
    }

    /// The id that new tokens carry.
    pub const fn active_id(&self) -> u32 {
        self.active
    }

    /// The public key that verifies new tokens.
    pub fn active_public(&self) -> PublicKey {
        self.signing().public()
    }

    fn signing(&self) -> &KeyPair {
        self.pairs
            .get(&self.active)
            .expect("`new` took the active id from this map")
    }

    fn public(&self, id: Option<u32>) -> Result<PublicKey, error::Format> {
        id.and_then(|id| self.pairs.get(&id))
            .map(KeyPair::public)
            .ok_or(error::Format::UnknownPublicKey)
    }
}

/// A minted token and its name.
#[derive(Clone)]
pub struct Minted {
    /// The text to hand out. Never log it.
    pub token: String,
    /// The revocation id of the authority block, in hexadecimal.
    pub id: String,
}

/// Mints the token that says `claims`.
///
/// Errors only where the library refuses to serialise, which facts of plain terms never cause.
pub fn mint(claims: &Claims, keys: &Keys) -> Result<Minted, error::Token> {
    let mut builder = Biscuit::builder()
        .root_key_id(keys.active)
        .fact(fact("user", claims.user.as_str()))?
        .fact(fact("user_name", &claims.user_name))?
        .fact(fact("client", claims.client.as_str()))?
        .fact(fact("grant", claims.grant.as_str()))?
        .fact(fact("resource", claims.resource.as_str()))?
        .fact(moment("issued", claims.issued))?
        .fact(moment("expires", claims.expires))?;
    for token in claims.scope.iter() {
        builder = builder.fact(fact("scope", token))?;
    }
    match &claims.tools {
        Tools::All => {
            builder = builder.fact(Fact::new("all_tools".to_owned(), vec![boolean(true)]))?
        }
        Tools::Only(names) => {
            for name in names {
                builder = builder.fact(fact("tool", name))?;
            }
        }
    }
    let biscuit = builder.build(keys.signing())?;
    Ok(Minted {
        id: authority_id(&biscuit),
        token: biscuit.to_base64()?,
    })
}

/// A token that this installation signed and that says what a token must say. It may have expired
/// since, and its grant may be revoked: both are asked at every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    id: String,
    claims: Claims,
}

impl VerifiedToken {
    /// The revocation id of its authority block: its name in logs.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it says.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether its lifetime is over, with [`LEEWAY`] for the clocks of replicas.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now > self.claims.expires + LEEWAY
    }
}

/// Why a token is refused. All of them are 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No Biscuit, or one of ours that lacks a fact.
    #[error("malformed")]
    Malformed,
    /// Not signed with the key that it names.
    #[error("bad signature")]
    BadSignature,
    /// It names a key that is not here.
    #[error("unknown key")]
    UnknownKey,
    /// Its holder appended blocks.
    #[error("appended blocks")]
    Narrowed,
}

impl TokenError {
    /// For the log.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed => Reason::TokenMalformed,
            Self::BadSignature => Reason::TokenBadSignature,
            Self::UnknownKey => Reason::TokenKeyUnknown,
            Self::Narrowed => Reason::TokenNarrowedUnsupported,
        }
    }
}

/// Verifies signature and form of a presented token. Costs about 0.2 ms: cache the answer.
pub fn verify(bearer: &BearerToken, keys: &Keys) -> Result<VerifiedToken, TokenError> {
    let biscuit =
        Biscuit::from_base64(bearer.as_str(), |id| keys.public(id)).map_err(
            |error| match error {
                error::Token::Format(error::Format::UnknownPublicKey) => TokenError::UnknownKey,
                error::Token::Format(error::Format::Signature(_)) => TokenError::BadSignature,
                _ => TokenError::Malformed,
            },
        )?;
    // Judged by structure, before any evaluation: a block that a holder appended can hold Datalog
    // that takes seconds to run.
    if biscuit.block_count() != 1 {
        return Err(TokenError::Narrowed);
    }
    let claims = read_claims(&biscuit).ok_or(TokenError::Malformed)?;
    Ok(VerifiedToken {
        id: authority_id(&biscuit),
        claims,
    })
}

fn read_claims(biscuit: &Biscuit) -> Option<Claims> {
    let limits = AuthorizerLimits {
        max_time: EVALUATION_TIME,
        ..AuthorizerLimits::default()
    };
    let mut authorizer = AuthorizerBuilder::new()
        .set_limits(limits.clone())
        .build(biscuit)
        .ok()?;
    let mut texts = |rule: &str| -> Option<Vec<String>> {
        let rows: Vec<(String,)> = authorizer.query_with_limits(rule, limits.clone()).ok()?;
        Some(rows.into_iter().map(|(text,)| text).collect())
    };
    let user = exactly_one(texts("v($x) <- user($x)")?)?;
    let user_name = exactly_one(texts("v($x) <- user_name($x)")?)?;
    let client = exactly_one(texts("v($x) <- client($x)")?)?;
    let grant = exactly_one(texts("v($x) <- grant($x)")?)?;
    let resource = exactly_one(texts("v($x) <- resource($x)")?)?;
    let scope = texts("v($x) <- scope($x)")?;
    let tools = texts("v($x) <- tool($x)")?;
    let all_tools = !texts("v(\"all\") <- all_tools(true)")?.is_empty();
    let mut moments = |rule: &str| -> Option<Timestamp> {
        let rows: Vec<(i64,)> = authorizer.query_with_limits(rule, limits.clone()).ok()?;
        let (secs,) = exactly_one(rows)?;
        u64::try_from(secs).ok().map(Timestamp::from_secs)
    };
    Some(Claims {
        user: UserId::new(user),
        user_name,
        client: ClientId::new(client),
        grant: GrantId::new(grant),
        resource: Resource::from_token(resource),
        scope: scope.into_iter().collect(),
        tools: if all_tools {
            Tools::All
        } else {
            Tools::Only(tools.into_iter().collect())
        },
        issued: moments("v($x) <- issued($x)")?,
        expires: moments("v($x) <- expires($x)")?,
    })
}

fn exactly_one<T>(rows: Vec<T>) -> Option<T> {
    let mut rows = rows.into_iter();
    let first = rows.next()?;
    rows.next().is_none().then_some(first)
}

fn fact(name: &str, value: &str) -> Fact {
    Fact::new(name.to_owned(), vec![string(value)])
}

/// Seconds since the epoch, as an integer: it prints as what it is and orders as it should.
fn moment(name: &str, at: Timestamp) -> Fact {
    Fact::new(
        name.to_owned(),
        vec![int(i64::try_from(at.secs()).unwrap_or(i64::MAX))],
    )
}

fn authority_id(biscuit: &Biscuit) -> String {
    biscuit
        .revocation_identifiers()
        .first()
        .map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn keys(id: u32) -> Keys {
        Keys::new(BTreeMap::from([(id, KeyPair::new())])).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            user: UserId::new("u_1"),
            user_name: "alice \"); admin(\"x".to_owned(),
            client: ClientId::new("c_1"),
            grant: GrantId::new("g_1"),
            resource: Resource::from_token("https://mcp.example.com/mcp"),
            scope: Scope::parse("mcp"),
            tools: Tools::Only(BTreeSet::from(["search".to_owned()])),
            issued: Timestamp::from_secs(1_000),
            expires: Timestamp::from_secs(2_000),
        }
    }

    fn bearer(text: &str) -> BearerToken {
        BearerToken::parse_token(text).unwrap()
    }

    #[test]
    fn a_minted_token_says_what_it_was_minted_with() {
        let keys = keys(3);
        for tools in [Tools::All, claims().tools] {
            let claims = Claims { tools, ..claims() };
            let minted = mint(&claims, &keys).unwrap();
            let verified = verify(&bearer(&minted.token), &keys).unwrap();
            assert_eq!(verified.claims(), &claims);
            assert_eq!(verified.id(), minted.id);
            assert!(minted.token.len() < 2048);
        }
    }

    #[test]
    fn a_token_of_another_installation_is_refused() {
        let minted = mint(&claims(), &keys(3)).unwrap();
        assert_eq!(
            verify(&bearer(&minted.token), &keys(3)),
            Err(TokenError::BadSignature)
        );
        assert_eq!(
            verify(&bearer(&minted.token), &keys(4)),
            Err(TokenError::UnknownKey)
        );
    }

    #[test]
    fn an_appended_block_is_refused_whatever_it_holds() {
        let keys = keys(1);
        let minted = mint(&claims(), &keys).unwrap();
        let token = Biscuit::from_base64(&minted.token, |id| keys.public(id)).unwrap();
        let block = biscuit_auth::builder::BlockBuilder::new()
            .code("user(\"root\"); check if true;")
            .unwrap();
        let narrowed = token.append(block).unwrap().to_base64().unwrap();
        assert_eq!(verify(&bearer(&narrowed), &keys), Err(TokenError::Narrowed));
    }

    #[test]
    fn a_token_ends_at_its_expiry_plus_the_stated_leeway() {
        let keys = keys(1);
        let minted = mint(&claims(), &keys).unwrap();
        let verified = verify(&bearer(&minted.token), &keys).unwrap();
        let expires = claims().expires;
        assert!(!verified.is_expired(expires));
        assert!(!verified.is_expired(expires + LEEWAY));
        assert!(verified.is_expired(expires + LEEWAY + Duration::from_millis(1)));
    }
}
