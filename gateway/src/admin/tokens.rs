//! `token revoke`: one access token with all that was narrowed from it, and nothing above it.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::api::{About, Asked, Done};
use super::failure::Failure;
use gateway_core::access_token;
use gateway_core::protocol::bearer::BearerToken;
use gateway_oauth::revoke::remembered_until;
use gateway_oauth::revoke_all::REMEMBERED;
use gateway_store::Revoked;

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
            (id.to_lowercase(), Some(until), About::default())
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
            // The last block is the token itself; revoking nothing must not look like revoking it.
            let Some(id) = token.ids().last().cloned() else {
                return Err(Failure::malformed("this token has no revocation id"));
            };
            (
                id,
                remembered_until(&server.settings, &token, asked.now),
                about,
            )
        }
    };
    about.token = Some(id.clone());
    if let Some(until) = until {
        let what = Revoked::Token(id.clone());
        let revoking = server.records.revoke(&what, until, asked.now).await;
        revoking.map_err(|error| Failure::from(error).about(&about))?;
    }
    Ok(Done::new(json!({ "revoked": id }), about))
}
