//! Revoking: durable and visible to every replica before it is acknowledged, known to this one at
//! once. Not: what has to be revoked for what (`oauth::revoke`, `oauth::revoke_all`).

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::error::StoreError;
use crate::key::Key;
use crate::records::Records;
use crate::revocation::{Revocation, Revoked};
use crate::revocation_follower::Follows as _;
use gateway_core::clock::Timestamp;
use gateway_core::grants::GrantId;

/// How many grants are revoked at the same time, where there are many.
const TOGETHER: usize = 64;

impl Records {
    /// Revokes until a moment: when the last token ends that it concerns.
    pub async fn revoke(
        &self,
        what: &Revoked,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let begun = Instant::now();
        let revocation = Revocation {
            id: what.to_string(),
            expires: until,
        };
        self.store().revoke(&revocation, now).await?;
        if let Some(view) = self.view() {
            view.add(&[revocation]);
        }
        self.took_effect(begun);
        Ok(())
    }

    /// Revokes a grant and forgets it. `expires` is when its last token ends.
    pub async fn revoke_grant(
        &self,
        id: &GrantId,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.revoke(&Revoked::Grant(id.clone()), expires, now)
            .await?;
        self.store().remove(&Key::grant(id)).await?;
        Ok(())
    }

    /// Revokes grants, each until its moment. On an error some may have been revoked.
    pub async fn revoke_grants(
        &self,
        grants: Vec<(GrantId, Timestamp)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let begun = Instant::now();
        let mut revoking = JoinSet::new();
        let mut known = Vec::with_capacity(grants.len());
        let mut outcome = Ok(());
        for (id, expires) in grants {
            if revoking.len() == TOGETHER {
                outcome = outcome.and(outcome_of(revoking.join_next().await));
            }
            let revocation = Revocation {
                id: Revoked::Grant(id.clone()).to_string(),
                expires,
            };
            known.push(revocation.clone());
            let store = Arc::clone(self.store());
            revoking.spawn(async move {
                store.revoke(&revocation, now).await?;
                store.remove(&Key::grant(&id)).await?;
                Ok(())
            });
        }
        while let Some(joined) = revoking.join_next().await {
            outcome = outcome.and(outcome_of(Some(joined)));
        }
        // Here at once, and in one piece: every stream looks whether it is concerned. What failed
        // may have happened; refusing it here is right in either case.
        if let Some(view) = self.view() {
            view.add(&known);
        }
        if outcome.is_ok() {
            self.took_effect(begun);
        }
        outcome
    }

    fn took_effect(&self, begun: Instant) {
        if let Some(effect) = &self.effect {
            effect.observe(begun.elapsed());
        }
    }
}

fn outcome_of(
    joined: Option<Result<Result<(), StoreError>, tokio::task::JoinError>>,
) -> Result<(), StoreError> {
    match joined {
        None => Ok(()),
        Some(Ok(outcome)) => outcome,
        // The gateway is stopping.
        Some(Err(error)) => Err(StoreError::Away(error.to_string())),
    }
}
