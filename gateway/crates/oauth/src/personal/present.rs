//! What a presented bearer token says. A personal token is looked up: by a seal first, which costs
//! nothing and which strangers don't have; then in what is revoked; then in the store.

use crate::provider::{Membership, Memberships};
use crate::revoke;
use crate::server::{AuthorizationServer, Settings};
use gateway_core::access_token::{self, VerifiedToken};
use gateway_core::audit::Record;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::Grant;
use gateway_core::grants::personal::PersonalToken;
use gateway_core::policy::TokenRejection;
use gateway_core::protocol::bearer::BearerToken;
use gateway_core::reason::Reason;
use gateway_core::secret::TagKey;
use gateway_store::journal::Journal;
use gateway_store::{Records, StoreError};

impl AuthorizationServer {
    /// What a token says, if it is one of ours: by its form and signature; for a personal token by its
    /// grant, which is a look into the store. Either way the answer is to be remembered for as long as it
    /// is not stale. Whether it is revoked, and for here, is asked of the answer.
    pub async fn verified(
        &self,
        bearer: &BearerToken,
        now: Timestamp,
    ) -> Result<VerifiedToken, TokenRejection> {
        if PersonalToken::is_meant(bearer.as_str()) {
            let (presented, grant, membership) =
                presented_personally(&self.settings, self.memberships(), bearer.as_str(), now)
                    .await?;
            let expires = membership.end(now + self.settings.access_ttl);
            return access_token::stand_in(&presented, &grant, membership.groups, expires)
                .ok_or(TokenRejection::Invalid(Reason::PersonalTokenUnknown));
        }
        let token = access_token::verify(bearer, &self.keys.current())
            .map_err(|error| TokenRejection::Invalid(error.reason()))?;
        // One that was exchanged for a personal token goes with these.
        let is_personal = token.claims().client.as_str() == ClientId::PERSONAL_TOKEN;
        if is_personal && self.settings.personal.is_none() {
            return Err(TokenRejection::Invalid(Reason::PersonalTokensOff));
        }
        Ok(token)
    }

    /// Ends the personal tokens that stand in the query of a request, or where a client names itself: logs,
    /// histories and other people's servers have read them. On an error some may count still.
    pub async fn revoke_exposed_tokens(
        &self,
        text: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for token in exposed_tokens(text, &self.tags) {
            if let Err(error) = revoke_exposed(
                &self.settings,
                &self.records,
                &self.tags,
                &self.journal,
                &token,
                now,
            )
            .await
            {
                let reason = error.reason();
                log::error!(
                    event = "revocation_failed", reason, hint = reason.remedy(),
                    grant = token.grant().as_str(), cause:% = error; "{}", reason.sentence()
                );
                outcome = Err(error);
            }
        }
        outcome
    }
}

/// No more are looked up for one text.
const MAX_EXPOSED: usize = 4;

/// Those in a text that this installation made, each once.
fn exposed_tokens(text: &str, tags: &TagKey) -> Vec<PersonalToken> {
    let mut found = Vec::new();
    for token in PersonalToken::find_in(text) {
        if found.len() < MAX_EXPOSED && token.is_ours(tags) && !found.contains(&token) {
            found.push(token);
        }
    }
    found
}

async fn revoke_exposed(
    settings: &Settings,
    records: &Records,
    tags: &TagKey,
    journal: &Journal,
    token: &PersonalToken,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some(record) = revoke::end_held(tags, records, settings, token, now).await? {
        let record = Record {
            reason: Some(Reason::TokenInUrl),
            ..record
        };
        // Access was taken back whether or not it can be written down.
        let _ = journal.append_durable(record).await;
    }
    Ok(())
}

/// A personal token that is good at this moment, its grant, and what holds of its person.
pub(crate) async fn presented_personally(
    settings: &Settings,
    memberships: Memberships<'_>,
    text: &str,
    now: Timestamp,
) -> Result<(PersonalToken, Grant, Membership), TokenRejection> {
    let refused = |reason| Err(TokenRejection::Invalid(reason));
    let Some(presented) = PersonalToken::parse(text) else {
        return refused(Reason::PersonalTokenMalformed);
    };
    if settings.personal.is_none() {
        return refused(Reason::PersonalTokensOff);
    }
    if !presented.is_ours(memberships.tags) {
        return refused(Reason::PersonalTokenUnknown);
    }
    let (records, id) = (memberships.records, presented.grant());
    let view = records.view();
    if view.is_some_and(|view| view.is_revoked(&id)) {
        return refused(Reason::GrantRevoked);
    }
    let unknown = |error: StoreError| {
        let reason = error.reason();
        log::error!(
            event = "personal_token_unread", reason, hint = reason.remedy(), grant = id.as_str(),
            cause:% = error; "{}", reason.sentence()
        );
        TokenRejection::Unknown(reason)
    };
    let kept = records.kept_grant(&id, now).await.map_err(unknown)?;
    let is_it = |grant: &Grant| {
        grant
            .personal
            .as_ref()
            .is_some_and(|kept| presented.is(kept))
    };
    let Some(grant) = kept.map(|kept| kept.grant).filter(is_it) else {
        return refused(Reason::PersonalTokenUnknown);
    };
    if now >= grant.expires {
        return refused(Reason::TokenExpired);
    }
    if view.is_some_and(|view| view.revokes_grant(&grant)) {
        return refused(Reason::GrantRevoked);
    }
    let membership = memberships.of(&grant.user, &grant.user_name, now).await;
    match membership.map_err(unknown)? {
        Ok(membership) => Ok((presented, grant, membership)),
        Err(Reason::ProviderUnreachable) => {
            Err(TokenRejection::Unknown(Reason::ProviderUnreachable))
        }
        Err(reason) => refused(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_costs_few_looks_whatever_stands_in_it() {
        let tags = TagKey::new([7; 32]);
        let ours = |seed: u8| PersonalToken::new([seed; 32], &tags);
        let foreign = PersonalToken::new([9; 32], &TagKey::new([8; 32]));
        let mut text = format!("{}&{}", foreign.reveal(), ours(0).reveal());
        for seed in [0, 0, 1, 2, 3, 4, 5] {
            text += &format!("&key={}", ours(seed).reveal());
        }
        assert_eq!(exposed_tokens(&text, &tags), [0, 1, 2, 3].map(ours));
        assert!(exposed_tokens("cupgw_", &tags).is_empty());
    }
}
