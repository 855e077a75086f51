//! Third-party approvals: a block that somebody whom the operator named has signed for one token,
//! and that says nothing but `approved("TOOL", DATE);`. It adds a fact for whoever requires it, and
//! widens nothing.

use biscuit_auth::PublicKey;
use biscuit_auth::builder::Algorithm;
use biscuit_auth::format::schema::term::Content;

use super::attenuation::NO_DATE;
use super::envelope::Block;
use crate::clock::Timestamp;

/// One block approves so many tools at most.
const APPROVALS: usize = 16;

/// Somebody whose approvals count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approver {
    /// What the operator calls them.
    pub name: String,
    /// Verifies their blocks. Ed25519.
    pub key: PublicKey,
}

/// The public key that a text names: `ed25519/` and 64 hexadecimal digits, or the digits alone.
pub fn approver_key(text: &str) -> Option<PublicKey> {
    let digits = text.strip_prefix("ed25519/").unwrap_or(text);
    PublicKey::from_bytes_hex(digits, Algorithm::Ed25519).ok()
}

/// An approver's word that a tool may be called, in a block of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The name of the tool.
    pub tool: String,
    /// The approver, by the name that the operator's configuration gives them.
    pub approver: String,
    /// Until when.
    pub until: Timestamp,
}

/// The approvals of a block, if it is one of an approver's and says nothing else.
pub(super) fn judge(
    block: &Block,
    signer: &PublicKey,
    approvers: &[Approver],
) -> Option<Vec<Approval>> {
    let approver = approvers.iter().find(|approver| approver.key == *signer)?;
    let facts = &block.content.facts;
    let is_plain = block.is_plain() && block.content.checks.is_empty();
    if !is_plain || !(1..=APPROVALS).contains(&facts.len()) {
        return None;
    }
    facts
        .iter()
        .map(|fact| {
            let is_approval = block.name_of(&fact.predicate) == Some("approved");
            let [tool, until] = fact.predicate.terms.as_slice() else {
                return None;
            };
            match until.content {
                Some(Content::Date(until)) if is_approval && until < NO_DATE => Some(Approval {
                    tool: block.text_of(tool)?.to_owned(),
                    approver: approver.name.clone(),
                    until: Timestamp::from_secs(until),
                }),
                _ => None,
            }
        })
        .collect()
}
