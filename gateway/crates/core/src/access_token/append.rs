//! Appending to a token, as any holder can do offline, and looking at what was appended. Values
//! enter through parameters, never by pasting text into Datalog.

use std::collections::HashMap;

use biscuit_auth::builder::{BlockBuilder, Fact, Term, string};
use biscuit_auth::{KeyPair, PublicKey, UnverifiedBiscuit, error};

use super::attenuation::{self, Attenuation, Budget, Check, Constant, Match};
use super::envelope::{Appended, TokenEnvelope};
use super::third_party_block::{self, Approval, Approver};
use super::token_error::TokenError;
use crate::clock::Timestamp;
use crate::protocol::bearer::BearerToken;

/// Why nothing can be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The text is no token, or one that would be refused.
    #[error("this token would be refused: {0}")]
    Refused(#[from] TokenError),
    /// It was sealed.
    #[error("this token is sealed: nothing can be appended to it")]
    Sealed,
    /// The token would become longer than any that is looked at.
    #[error(
        "the token would become too long: fewer or shorter conditions, or a token that was narrowed less often"
    )]
    TooLong,
    /// The token would carry more budgets of calls than one may.
    #[error(
        "a token carries two budgets of calls at most, those of what it was made from included"
    )]
    TooManyBudgets,
    /// The library refused.
    #[error("{0}")]
    Library(#[source] error::Token),
}

impl From<error::Token> for AppendError {
    fn from(error: error::Token) -> Self {
        match error {
            error::Token::AppendOnSealed | error::Token::AlreadySealed => Self::Sealed,
            other => Self::Library(other),
        }
    }
}

/// One appended block, as [`super::verify`] judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifiedBlock {
    /// Its holder's conditions.
    Attenuation(Vec<Check>),
    /// A third party's approvals.
    Approvals(Vec<Approval>),
    /// Signed by somebody who is no approver.
    Stranger(PublicKey),
    /// None of those that are taken: with it the whole token is refused.
    Refused,
}

/// Narrows a token by conditions that must all hold, and seals it if wanted. Only ever narrower:
/// a block of checks is all that is appended.
pub fn attenuate(token: &BearerToken, checks: &[Check], seal: bool) -> Result<String, AppendError> {
    let mut biscuit = open(token)?;
    if !checks.is_empty() {
        biscuit = biscuit.append(block(checks)?)?;
    }
    if seal {
        biscuit = biscuit.seal()?;
    }
    close(&biscuit)
}

/// Appends a third party's approval of tools, signed with `key` for this token alone.
pub fn approve(
    token: &BearerToken,
    key: &KeyPair,
    tools: &[String],
    until: Timestamp,
) -> Result<String, AppendError> {
    let biscuit = open(token)?;
    let mut facts = BlockBuilder::new();
    for tool in tools {
        let terms = vec![string(tool), Term::Date(until.secs())];
        facts = facts.fact(Fact::new("approved".to_owned(), terms))?;
    }
    let signed = biscuit
        .third_party_request()?
        .create_block(&key.private(), facts)?;
    close(&biscuit.append_third_party(&signed.serialize()?)?)
}

/// What was appended, block by block. Signatures are not looked at.
pub fn judged(
    token: &BearerToken,
    approvers: &[Approver],
) -> Result<Vec<VerifiedBlock>, TokenError> {
    let form = TokenEnvelope::read(token.as_str())?;
    let judged = form.appended.iter().map(|block| match block {
        Appended::Own(block) => {
            attenuation::judge(block).map_or(VerifiedBlock::Refused, VerifiedBlock::Attenuation)
        }
        Appended::ThirdParty(_, key) if !approvers.iter().any(|other| other.key == *key) => {
            VerifiedBlock::Stranger(*key)
        }
        Appended::ThirdParty(block, key) => third_party_block::judge(block, key, approvers)
            .map_or(VerifiedBlock::Refused, VerifiedBlock::Approvals),
    });
    Ok(judged.collect())
}

fn open(token: &BearerToken) -> Result<UnverifiedBiscuit, AppendError> {
    TokenEnvelope::read(token.as_str())?;
    Ok(UnverifiedBiscuit::from_base64(token.as_str())?)
}

/// The text, if it is one that the gateway would look at.
fn close(biscuit: &UnverifiedBiscuit) -> Result<String, AppendError> {
    let text = biscuit.to_base64()?;
    let token = BearerToken::parse_token(&text).ok_or(AppendError::TooLong)?;
    let form = TokenEnvelope::read(token.as_str())?;
    let mut attenuation = Attenuation::default();
    for (number, block) in (1..).zip(&form.appended) {
        if let Appended::Own(block) = block {
            let checks = attenuation::judge(block).ok_or(TokenError::Attenuation)?;
            attenuation.and(number, checks);
        }
    }
    if attenuation.budgets().len() > Budget::MOST {
        return Err(AppendError::TooManyBudgets);
    }
    Ok(text)
}

/// The block that says `checks`, in the spelling of the oldest version that has it.
pub(super) fn block(checks: &[Check]) -> Result<BlockBuilder, error::Token> {
    let mut block = BlockBuilder::new();
    for check in checks {
        let (code, parameters) = datalog(check);
        let parameters: HashMap<String, Term> = parameters
            .into_iter()
            .map(|(name, term)| (name.to_owned(), term))
            .collect();
        block = block.code_with_params(code, parameters, HashMap::new())?;
    }
    Ok(block)
}

fn datalog(check: &Check) -> (&'static str, Vec<(&'static str, Term)>) {
    let set = |names: &std::collections::BTreeSet<String>| {
        Term::Set(names.iter().map(|name| string(name)).collect())
    };
    match check {
        Check::Tool(names) => (
            "check if tool($x), {set}.contains($x);",
            vec![("set", set(names))],
        ),
        Check::Backend(names) => (
            "check if backend($x), {set}.contains($x);",
            vec![("set", set(names))],
        ),
        Check::Before(secs) => (
            "check if time($x), $x < {end};",
            vec![("end", Term::Date(*secs))],
        ),
        Check::ReadOnly => ("check if read_only(true);", Vec::new()),
        Check::Limit(kind, calls) => (
            "check if limit({kind}, {calls});",
            vec![
                ("kind", string(kind.name())),
                (
                    "calls",
                    Term::Integer(i64::try_from(*calls).unwrap_or(i64::MAX)),
                ),
            ],
        ),
        Check::Argument { path, is } => match is {
            Match::StartsWith(prefix) => (
                "check if argument({path}, $x), $x.starts_with({prefix});",
                vec![("path", string(path)), ("prefix", string(prefix))],
            ),
            Match::OneOf(constants) => (
                "check if argument({path}, $x), {set}.contains($x);",
                vec![
                    ("path", string(path)),
                    ("set", Term::Set(constants.iter().map(constant).collect())),
                ],
            ),
        },
    }
}

fn constant(constant: &Constant) -> Term {
    match constant {
        Constant::Text(text) => string(text),
        Constant::Integer(number) => Term::Integer(*number),
        Constant::Bool(value) => Term::Bool(*value),
    }
}
