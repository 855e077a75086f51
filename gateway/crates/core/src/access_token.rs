//! Access tokens: Biscuits whose authority block holds facts only (design: who, for whom, where,
//! for what, until when).
//!
//! Owns minting and verifying, and what may be appended. Not: whether the grant behind a token was revoked (the store's
//! revocation view), what a call needs (`policy`), keys on disk (`keys`).

#[cfg(test)]
mod adversarial_tests;
mod append;
mod attenuation;
mod backend_token;
mod envelope;
mod facts;
mod third_party_block;
mod tools;

use std::collections::BTreeMap;
use std::time::Duration;

use biscuit_auth::builder::{Fact, int, string};
use biscuit_auth::{Biscuit, KeyPair, PublicKey, error};

use crate::client::ClientId;
use crate::clock::Timestamp;
pub use crate::grants::Tools;
use crate::grants::{GrantId, UserId};
use crate::protocol::bearer::BearerToken;
use crate::protocol::resource::Resource;
use crate::protocol::scope::Scope;
use crate::reason::Reason;

pub use self::append::{AppendError, Judged, approve, attenuate, judged};
pub use self::attenuation::{Attenuation, Check, Constant, FailedCheck, Match, ToolCall};
pub use self::backend_token::{BackendToken, mint_backend_token};
pub use self::envelope::{APPENDED_BLOCKS, APPENDED_BYTES};
pub use self::third_party_block::{Approval, Approver, approver_key};

use self::envelope::{Appended, Block, TokenEnvelope};

/// Clocks of replicas may differ by this much.
pub const LEEWAY: Duration = Duration::from_secs(30);

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
    approvers: Vec<Approver>,
}

impl Keys {
    /// Keys by their `root_key_id`; the highest id signs. `None` if there is none.
    pub fn new(pairs: BTreeMap<u32, KeyPair>) -> Option<Self> {
        let active = *pairs.keys().next_back()?;
        Some(Self {
            active,
            pairs,
            approvers: Vec::new(),
        })
    }

    /// The same keys, and those whose approvals count.
    pub fn with_approvers(self, approvers: Vec<Approver>) -> Self {
        Self { approvers, ..self }
    }

    /// Every public key that verifies, by its `root_key_id`.
    pub fn public_keys(&self) -> impl Iterator<Item = (u32, PublicKey)> {
        self.pairs.iter().map(|(id, pair)| (*id, pair.public()))
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
    for fact in tools::facts(&claims.tools) {
        builder = builder.fact(fact)?;
    }
    let biscuit = builder.build(keys.signing())?;
    Ok(Minted {
        id: authority_id(&biscuit),
        token: biscuit.to_base64()?,
    })
}

/// A token that this installation signed and that says what a token must say, narrowed as its
/// holders wanted. It may have expired since, and its grant or one of its blocks may be revoked:
/// both are asked at every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    ids: Vec<String>,
    claims: Claims,
    attenuation: Attenuation,
    approvals: Vec<Approval>,
}

impl VerifiedToken {
    /// The revocation id of its authority block: its name in logs.
    pub fn id(&self) -> &str {
        self.ids.first().map(String::as_str).unwrap_or_default()
    }

    /// The revocation ids of all its blocks, the authority block's first. Revoking one revokes
    /// every token that was narrowed from there.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// What it says.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What its holders appended.
    pub const fn attenuation(&self) -> &Attenuation {
        &self.attenuation
    }

    /// What third parties approved, also what is over.
    pub fn approvals(&self) -> &[Approval] {
        &self.approvals
    }

    /// Whether it allows a tool: granted, and not narrowed away. `read_only`: whether the backend
    /// says that the tool changes nothing.
    pub fn allows_tool(&self, name: &str, read_only: bool) -> bool {
        self.claims.tools.contains(name) && self.attenuation.allows_tool(name, read_only)
    }

    /// The moment from which it counts no more: what was minted has [`LEEWAY`] for the clocks of
    /// replicas, what a holder wrote counts as written.
    pub fn ends(&self) -> Timestamp {
        let minted = self.claims.expires + LEEWAY + Duration::from_millis(1);
        match self.attenuation.ends() {
            Some(ends) => ends.min(minted),
            None => minted,
        }
    }

    /// Whether its lifetime is over; see [`VerifiedToken::ends`].
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.ends()
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
    /// A block that was appended is none of those that are taken.
    #[error("an appended block that is not of the closed form")]
    Attenuation,
}

impl TokenError {
    /// For the log.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed => Reason::TokenMalformed,
            Self::BadSignature => Reason::TokenBadSignature,
            Self::UnknownKey => Reason::TokenKeyUnknown,
            Self::Attenuation => Reason::TokenNarrowingRefused,
        }
    }
}

/// Verifies form and signatures of a presented token. Costs about 0.1 ms a block: cache the answer.
///
/// The form is judged first, so that a token which no holder could have made by attenuation costs no
/// signature check, and no Datalog of anybody's is run at all.
pub fn verify(bearer: &BearerToken, keys: &Keys) -> Result<VerifiedToken, TokenError> {
    let form = TokenEnvelope::read(bearer.as_str())?;
    if keys.public(form.root_key_id).is_err() {
        return Err(TokenError::UnknownKey);
    }
    let (attenuation, approvals) = judge(&form.appended, &keys.approvers)?;
    let biscuit =
        Biscuit::from(&form.bytes, |id| keys.public(id)).map_err(|error| match error {
            error::Token::Format(error::Format::UnknownPublicKey) => TokenError::UnknownKey,
            error::Token::Format(error::Format::Signature(_)) => TokenError::BadSignature,
            _ => TokenError::Malformed,
        })?;
    let claims = read_claims(&form.authority).ok_or(TokenError::Malformed)?;
    Ok(VerifiedToken {
        ids: biscuit
            .revocation_identifiers()
            .iter()
            .map(|id| hex(id))
            .collect(),
        claims,
        attenuation,
        approvals,
    })
}

fn judge(
    appended: &[Appended],
    approvers: &[Approver],
) -> Result<(Attenuation, Vec<Approval>), TokenError> {
    let mut attenuation = Attenuation::default();
    let mut approvals = Vec::new();
    for block in appended {
        match block {
            Appended::Own(block) => {
                attenuation.and(attenuation::judge(block).ok_or(TokenError::Attenuation)?);
            }
            Appended::ThirdParty(block, signer) => approvals.extend(
                third_party_block::judge(block, signer, approvers)
                    .ok_or(TokenError::Attenuation)?,
            ),
        }
    }
    Ok((attenuation, approvals))
}

fn read_claims(authority: &Block) -> Option<Claims> {
    if !authority.is_plain() || !authority.content.checks.is_empty() {
        return None;
    }
    Some(Claims {
        user: UserId::new(authority.only_text("user")?),
        user_name: authority.only_text("user_name")?,
        client: ClientId::new(authority.only_text("client")?),
        grant: GrantId::new(authority.only_text("grant")?),
        resource: Resource::from_token(authority.only_text("resource")?),
        scope: authority.texts("scope")?.into_iter().collect(),
        tools: tools::read(authority)?,
        issued: authority.only_moment("issued")?,
        expires: authority.only_moment("expires")?,
    })
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
        .map(|id| hex(id))
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
    fn an_appended_block_that_could_widen_is_refused() {
        let keys = keys(1);
        let minted = mint(&claims(), &keys).unwrap();
        let token = Biscuit::from_base64(&minted.token, |id| keys.public(id)).unwrap();
        let block = biscuit_auth::builder::BlockBuilder::new()
            .code("user(\"root\"); check if true;")
            .unwrap();
        let narrowed = token.append(block).unwrap().to_base64().unwrap();
        assert_eq!(
            verify(&bearer(&narrowed), &keys),
            Err(TokenError::Attenuation)
        );
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
