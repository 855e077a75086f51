//! `token revoke`: one access token with all that was narrowed from it, and nothing above it.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::api::{About, Asked, Done};
use super::failure::Failure;
use crate::access_token::{self, LEEWAY};
use crate::oauth::cut::REMEMBERED;
use crate::protocol::bearer::BearerToken;
use crate::store::Revoked;

/// Digits of a revocation id: the signature of a block, by whichever algorithm.
const DIGITS: RangeInclusive<usize> = 128..=160;

/// The token, or the revocation id of the block to begin with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum ToRevoke {
    Token(String),
    Id(String),
}

pub(super) async fn revoke(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let server = &admin.server;
    let (id, until, mut about) = match asked.json()? {
        ToRevoke::Id(id) => {
            let is_id = DIGITS.contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_id {
                let sentence =
                    "the id of a token is the whole revocation id, 128 hexadecimal digits";
                return Err(Failure::malformed(sentence));
            }
            let until = asked.now + REMEMBERED;
            (id.to_lowercase(), until, About::default())
        }
        ToRevoke::Token(text) => {
            let token = BearerToken::parse_token(&text)
                .and_then(|bearer| access_token::verify(&bearer, &server.keys).ok())
                .ok_or_else(|| Failure::malformed("this is no token of this gateway"))?;
            let claims = token.claims();
            let about = About {
                user: Some(claims.user.as_str().to_owned()),
                client: Some(claims.client.as_str().to_owned()),
                grant: Some(claims.grant.as_str().to_owned()),
                ..About::default()
            };
            let id = token.ids().last().cloned().unwrap_or_default();
            (id, token.ends() + LEEWAY, about)
        }
    };
    let records = &server.records;
    if asked.now < until {
        let what = Revoked::Token(id.clone());
        records.revoke(&what, until, asked.now).await?;
    }
    about.token = Some(id.clone());
    Ok(Done::new(json!({ "revoked": id }), about))
}
