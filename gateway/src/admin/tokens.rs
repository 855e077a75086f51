//! `token revoke`: one access token with all that was narrowed from it, and nothing above it.

use std::ops::RangeInclusive;

use super::failure::Failure;
use super::outcome::{Done, Subject};
use super::request::Request;
use crate::operator_api::{RevokeToken, RevokedToken, TokenToRevoke};
use gateway_core::access_token;
use gateway_core::access_token::KeysHandle;
use gateway_core::grants::personal::PersonalToken;
use gateway_core::protocol::bearer::BearerToken;
use gateway_core::secret::TagKey;
use gateway_oauth::Settings;
use gateway_oauth::revoke::{end_held, remembered_until};
use gateway_oauth::revoke_all::REMEMBERED;
use gateway_store::{Records, Revoked};

/// Digits of a revocation id: the signature of a block, by whichever algorithm.
const DIGITS: RangeInclusive<usize> = 128..=160;

pub(super) async fn revoke(
    settings: &Settings,
    records: &Records,
    keys: &KeysHandle,
    tags: &TagKey,
    request: &Request,
) -> Result<Done, Failure> {
    let (id, until, mut subject) = match request.body::<RevokeToken>()? {
        TokenToRevoke::Id(id) => {
            let is_id = DIGITS.contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_id {
                let sentence =
                    "the id of a token is the whole revocation id, 128 hexadecimal digits";
                return Err(Failure::malformed(sentence));
            }
            let until = request.now + REMEMBERED;
            (id.to_lowercase(), Some(until), Subject::default())
        }
        TokenToRevoke::Token(text) if PersonalToken::is_meant(&text) => {
            return revoke_personal(settings, records, tags, request, &text).await;
        }
        TokenToRevoke::Token(text) => {
            let token = BearerToken::parse_token(&text)
                .and_then(|bearer| access_token::verify(&bearer, &keys.current()).ok())
                .ok_or_else(|| Failure::malformed("this is no token of this gateway"))?;
            let claims = token.claims();
            let subject = Subject::of_ids(&claims.user, &claims.client, &claims.grant);
            // The last block is the token itself; revoking nothing must not look like revoking it.
            let Some(id) = token.ids().last().cloned() else {
                return Err(Failure::malformed("this token has no revocation id"));
            };
            let until = remembered_until(settings, &token, request.now);
            (id, until, subject)
        }
    };
    subject.token = Some(id.clone());
    if let Some(until) = until {
        let what = Revoked::Token(id.clone());
        let revoking = records.revoke(&what, until, request.now).await;
        revoking.map_err(Failure::of(&subject))?;
    }
    let answer = RevokedToken {
        revoked: id,
        grant: None,
    };
    Ok(Done::new::<RevokeToken>(&answer, subject))
}

/// A personal token is all that its grant gives, so the grant ends with it.
async fn revoke_personal(
    settings: &Settings,
    records: &Records,
    tags: &TagKey,
    request: &Request,
    text: &str,
) -> Result<Done, Failure> {
    let none = || Failure::malformed("this is no personal token of this gateway, or it has ended");
    let token = PersonalToken::parse(text).ok_or_else(none)?;
    let record = end_held(tags, records, settings, &token, request.now)
        .await?
        .ok_or_else(none)?;
    let subject = Subject {
        user: record.user,
        client: record.client,
        grant: record.grant.clone(),
        ..Subject::default()
    };
    let answer = RevokedToken {
        revoked: token.id(),
        grant: record.grant,
    };
    Ok(Done::new::<RevokeToken>(&answer, subject))
}
