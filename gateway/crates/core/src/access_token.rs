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
mod keys;
mod rotation;
mod stand_in;
mod third_party_block;
mod token_error;
mod tools;
mod verified_token;

use biscuit_auth::{Biscuit, error};

use crate::client::ClientId;
pub use crate::grants::Tools;
use crate::grants::{GrantId, UserId};
use crate::hex;
use crate::protocol::bearer::BearerToken;
use crate::protocol::resource::Resource;

pub use self::append::{AppendError, VerifiedBlock, approve, attenuate, judged};
pub use self::attenuation::{
    Attenuation, Budget, BudgetKind, Check, Constant, FailedCheck, Match, ToolCall,
};
pub use self::backend_token::{BackendToken, mint_backend_token};
pub use self::envelope::{APPENDED_BLOCKS, APPENDED_BYTES};
pub use self::keys::{Keys, KeysHandle};
pub use self::rotation::{KeyFacts, KeyState, RotationTimes, key_states};
pub use self::stand_in::{as_its_app, stand_in};
pub use self::third_party_block::{Approval, Approver, approver_key};
pub use self::token_error::TokenError;
pub use self::verified_token::{Claims, LEEWAY, VerifiedToken};

use self::envelope::{Appended, Block, TokenEnvelope};
use self::facts::{fact, moment};

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
/// Errors where all keys are revoked, and where the library refuses to serialise, which facts of plain terms
/// never cause.
pub fn mint(claims: &Claims, keys: &Keys) -> Result<Minted, error::Token> {
    let (key_id, key) = keys.signing()?;
    let mut facts = vec![
        fact("user", claims.user.as_str()),
        fact("user_name", &claims.user_name),
        fact("client", claims.client.as_str()),
        fact("grant", claims.grant.as_str()),
        fact("resource", claims.resource.as_str()),
        moment("issued", claims.issued),
        moment("expires", claims.expires),
    ];
    facts.extend(claims.user.is_service().then(|| facts::holds("machine")));
    facts.extend(
        claims
            .groups
            .iter()
            .map(|group| fact("provider_group", group)),
    );
    facts.extend(claims.scope.iter().map(|token| fact("scope", token)));
    facts.extend(tools::facts(&claims.tools));
    let mut builder = Biscuit::builder().root_key_id(key_id);
    for fact in facts {
        builder = builder.fact(fact)?;
    }
    let biscuit = builder.build(key)?;
    let ids = biscuit.revocation_identifiers();
    Ok(Minted {
        id: ids.first().map(hex::encode).unwrap_or_default(),
        token: biscuit.to_base64()?,
    })
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
    let ids = biscuit.revocation_identifiers();
    let ids: Vec<String> = ids.iter().map(hex::encode).collect();
    Ok(VerifiedToken {
        attenuation: attenuation.with_ids(&ids),
        ids,
        claims,
        approvals,
        is_stand_in: false,
        signing_key: form.root_key_id,
    })
}

fn judge(
    appended: &[Appended],
    approvers: &[Approver],
) -> Result<(Attenuation, Vec<Approval>), TokenError> {
    let mut attenuation = Attenuation::default();
    let mut approvals = Vec::new();
    // The first block is the authority's.
    for (number, block) in (1..).zip(appended) {
        match block {
            Appended::Own(block) => {
                let checks = attenuation::judge(block).ok_or(TokenError::Attenuation)?;
                attenuation.and(number, checks);
                if attenuation.budgets().len() > Budget::MOST {
                    return Err(TokenError::Attenuation);
                }
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
        groups: authority.texts("provider_group")?,
        client: ClientId::new(authority.only_text("client")?),
        grant: GrantId::new(authority.only_text("grant")?),
        resource: Resource::from_token(authority.only_text("resource")?),
        scope: authority.texts("scope")?.into_iter().collect(),
        tools: tools::read(authority)?,
        issued: authority.only_moment("issued")?,
        expires: authority.only_moment("expires")?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use biscuit_auth::KeyPair;

    use super::*;
    use crate::clock::Timestamp;
    use crate::protocol::scope::Scope;

    fn keys(id: u32) -> Keys {
        Keys::new(BTreeMap::from([(id, KeyPair::new())])).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            user: UserId::new("u_1"),
            user_name: "alice \"); admin(\"x".to_owned(),
            groups: Vec::new(),
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
