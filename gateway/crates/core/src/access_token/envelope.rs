//! A token's outer form, looked at before any signature and any evaluation: how many blocks there
//! are, how large, of which kind. A holder can append whatever fits into a header, so what is
//! judged here costs microseconds whatever it holds.
//!
//! Owns: the protobuf, and the bounds on it. Not: what appended blocks may say (`attenuation`,
//! `third_party_block`), nor whose signatures they bear (`verify`).

use std::collections::HashSet;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use biscuit_auth::PublicKey;
use biscuit_auth::builder::Algorithm;
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::format::convert::proto_block_to_token_block;
use biscuit_auth::format::schema;
use prost::Message as _;

use super::token_error::TokenError;

/// A holder may append so many blocks. Each costs a signature check.
pub const APPENDED_BLOCKS: usize = 8;

/// An appended block may have so many bytes.
pub const APPENDED_BYTES: usize = 2048;

/// Padded and unpadded spellings are one token; stray bits after the last byte are none.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(false),
);

/// The version of the signature of third-party blocks that binds them to the block before.
const BOUND_TO_ITS_TOKEN: u32 = 1;

const ED25519: i32 = schema::public_key::Algorithm::Ed25519 as i32;

/// A token taken apart. Nothing in it is verified.
pub(super) struct TokenEnvelope {
    pub(super) bytes: Vec<u8>,
    pub(super) root_key_id: Option<u32>,
    pub(super) authority: Block,
    pub(super) appended: Vec<Appended>,
}

/// A block with the texts that its numbers stand for.
pub(super) struct Block {
    pub(super) content: schema::Block,
    pub(super) symbols: SymbolTable,
}

/// A block that a holder appended.
pub(super) enum Appended {
    /// The holder's own.
    Own(Block),
    /// Signed by somebody else, for this token.
    ThirdParty(Block, PublicKey),
}

impl TokenEnvelope {
    /// Takes the text of a token apart.
    pub(super) fn read(text: &str) -> Result<Self, TokenError> {
        let bytes = BASE64.decode(text).map_err(|_| TokenError::Malformed)?;
        let token = schema::Biscuit::decode(bytes.as_slice()).map_err(|_| TokenError::Malformed)?;
        let authority = schema::Block::decode(token.authority.block.as_slice())
            .map_err(|_| TokenError::Malformed)?;
        if token.authority.external_signature.is_some() {
            return Err(TokenError::Malformed);
        }
        if token.blocks.len() > APPENDED_BLOCKS {
            return Err(TokenError::Attenuation);
        }
        let mut symbols =
            SymbolTable::from(authority.symbols.clone()).map_err(|_| TokenError::Malformed)?;
        let authority = Block {
            content: authority,
            symbols: symbols.clone(),
        };
        let appended = token
            .blocks
            .iter()
            .map(|signed| Appended::read(signed, &mut symbols).ok_or(TokenError::Attenuation))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            bytes,
            root_key_id: token.root_key_id,
            authority,
            appended,
        })
    }
}

impl Appended {
    /// `None` for a block that is larger, of another key, or more cleverly written than any that
    /// is taken.
    fn read(signed: &schema::SignedBlock, symbols: &mut SymbolTable) -> Option<Self> {
        if signed.block.len() > APPENDED_BYTES || signed.next_key.algorithm != ED25519 {
            return None;
        }
        let signer = match &signed.external_signature {
            None => None,
            Some(_) if signed.version != Some(BOUND_TO_ITS_TOKEN) => return None,
            Some(external) if external.public_key.algorithm != ED25519 => return None,
            Some(external) => {
                Some(PublicKey::from_bytes(&external.public_key.key, Algorithm::Ed25519).ok()?)
            }
        };
        let content = schema::Block::decode(signed.block.as_slice()).ok()?;
        // What this library does not know it skips: only a block that it would write the same way
        // says what it says here to everybody.
        if content.encode_to_vec() != signed.block {
            return None;
        }
        let own: HashSet<&str> = content.symbols.iter().map(String::as_str).collect();
        if own.len() != content.symbols.len() {
            return None;
        }
        proto_block_to_token_block(&content, signer).ok()?;
        let table = SymbolTable::from(content.symbols.clone()).ok()?;
        match signer {
            Some(key) => Some(Self::ThirdParty(
                Block {
                    content,
                    symbols: table,
                },
                key,
            )),
            None => {
                symbols.extend(&table).ok()?;
                Some(Self::Own(Block {
                    content,
                    symbols: symbols.clone(),
                }))
            }
        }
    }
}

impl Block {
    /// Whether it holds nothing but facts and checks, in the plain scope, with no remark.
    pub(super) fn is_plain(&self) -> bool {
        let block = &self.content;
        block.rules.is_empty()
            && block.scope.is_empty()
            && block.public_keys.is_empty()
            && block.context.is_none()
    }

    pub(super) fn text(&self, symbol: u64) -> Option<&str> {
        self.symbols.get_symbol(symbol)
    }
}
