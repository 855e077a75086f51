//! Grants: what a user allowed a client.

use std::time::Duration;

use super::access::Records;
use super::encoding::{Record, encode};
use super::page::{Page, Readable};
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use crate::revocation::Revocation;
use crate::revocation_follower::Follows as _;
use gateway_core::access_token::LEEWAY;
use gateway_core::client::ClientId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::amendment::Amendment;
use gateway_core::grants::{Grant, GrantId, UserId};

/// A grant as it was read, so that what is decided about it replaces exactly that.
#[derive(Clone, Debug)]
pub struct KeptGrant {
    /// The grant. It may have ended.
    pub grant: Grant,
    seen: Vec<u8>,
}

/// Which grants are meant: those that match all that is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrantsOf<'a> {
    /// Given by this user.
    pub user: Option<&'a UserId>,
    /// Given to this client.
    pub client: Option<&'a ClientId>,
}

impl GrantsOf<'_> {
    pub(super) fn includes(&self, user: &UserId, client: &ClientId) -> bool {
        self.user.is_none_or(|of| of == user) && self.client.is_none_or(|of| of == client)
    }
}

/// How long a grant with refresh tokens or a personal token is remembered after its end, so that
/// whoever comes late with one is told that it is late and not that it is unknown.
const REMEMBERED_AFTER_END: Duration = Duration::from_secs(7 * 24 * 3600);

impl Record for Grant {}

impl Key {
    /// Of a grant's record.
    pub fn grant(id: &GrantId) -> Self {
        Self::new(KeyKind::Grant, id.as_str())
    }

    /// The same, to write it: whose it is, too.
    fn of_grant(grant: &Grant) -> Self {
        Self::grant(&grant.id).owned_by(&grant.user, &grant.client)
    }
}

impl Records {
    /// Keeps a new grant until its last token ends. One that is there already is changed by
    /// [`Records::replace_grant`] only: refresh tokens depend on it.
    pub async fn put_grant(&self, grant: &Grant) -> Result<(), StoreError> {
        self.keep(&Key::of_grant(grant), grant, remembered_until(grant))
            .await
    }

    /// Keeps a new grant until it ends, unless there is one of its id; `false` then.
    pub async fn add_grant(&self, grant: &Grant, now: Timestamp) -> Result<bool, StoreError> {
        let (key, value) = (Key::of_grant(grant), encode(grant));
        let until = Some(remembered_until(grant));
        self.add(&key, &value, until, now).await
    }

    /// A grant that has not ended.
    pub async fn grant(&self, id: &GrantId, now: Timestamp) -> Result<Option<Grant>, StoreError> {
        let grant: Option<Grant> = self.load(&Key::grant(id), now).await?;
        Ok(grant.filter(|grant| now < grant.expires))
    }

    /// A grant to be changed, ended or not.
    pub async fn kept_grant(
        &self,
        id: &GrantId,
        now: Timestamp,
    ) -> Result<Option<KeptGrant>, StoreError> {
        let found = self.load_seen(&Key::grant(id), now).await?;
        Ok(found.map(|(grant, seen)| KeptGrant { grant, seen }))
    }

    /// Sets a grant if it still is what was read; [`StoreError::Conflict`] if somebody changed or
    /// revoked it since.
    pub async fn replace_grant(
        &self,
        kept: &KeptGrant,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (key, value) = (Key::of_grant(grant), encode(grant));
        let until = Some(remembered_until(grant));
        self.store
            .replace(&key, &kept.seen, &value, until, now)
            .await
    }

    /// Sets a grant and makes its tokens in use follow, on every replica: the amendment is durable
    /// before the grant is replaced, so that a fault in between leaves nothing that can't be mended by
    /// approving once more. A conflict as for [`Records::replace_grant`]. `expires` is when nothing needs
    /// the amendment any more, `tokens_end` when the last access token ends that was given before.
    pub async fn amend_grant(
        &self,
        kept: &KeptGrant,
        grant: &Grant,
        amendment: &Amendment,
        [expires, tokens_end]: [Timestamp; 2],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.keep_earlier_tools(&kept.grant, tokens_end).await?;
        let entry = Revocation {
            id: amendment.to_entry(),
            expires,
        };
        self.store.revoke(&entry, now).await?;
        if let Some(view) = self.view() {
            view.add(&[entry]);
        }
        self.replace_grant(kept, grant, now).await
    }

    /// Up to `limit` grants after the grant `after`, without those that have ended or were revoked.
    pub async fn grants(
        &self,
        of: GrantsOf<'_>,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page<Grant>, StoreError> {
        let live = |grant: &Grant| {
            let revoked = self.view().is_some_and(|view| view.revokes_grant(grant));
            of.includes(&grant.user, &grant.client) && now < grant.expires && !revoked
        };
        let theirs = self.listed(KeyKind::Grant, of, now).await?;
        self.page(&theirs, after, limit, now, live).await
    }

    /// Every grant that a token may still name, also where it was cut off.
    pub async fn all_grants(
        &self,
        of: GrantsOf<'_>,
        now: Timestamp,
    ) -> Result<Readable<Grant>, StoreError> {
        let named =
            |grant: &Grant| of.includes(&grant.user, &grant.client) && now < grant.expires + LEEWAY;
        let theirs = self.listed(KeyKind::Grant, of, now).await?;
        self.readable(&theirs, now, named).await
    }
}

/// Tokens count a little longer than they say, and find their tools here.
fn remembered_until(grant: &Grant) -> Timestamp {
    if grant.refresh.is_some() || grant.personal.is_some() {
        grant.expires + REMEMBERED_AFTER_END
    } else {
        grant.expires + 2 * LEEWAY
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::epoch::StoreEpoch;
    use crate::memory::Memory;
    use crate::revocation_view::RevocationView;
    use gateway_core::grants::{GrantId, Tools};
    use gateway_core::protocol::resource::Resource;
    use gateway_core::protocol::scope::Scope;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn grant(number: usize, user: &str, client: &str, ends: Timestamp) -> Grant {
        Grant {
            id: GrantId::new(format!("g_{number:05}")),
            user: UserId::new(user),
            user_name: user.to_owned(),
            client: ClientId::new(client),
            client_fingerprint: None,
            resource: Resource::from_token("https://mcp.example.com/mcp"),
            scope: Scope::parse("mcp"),
            tools: Tools::All,
            allowed_by: None,
            created: NOW,
            redeemed: None,
            expires: ends,
            refresh: None,
            personal: None,
        }
    }

    fn ids(page: &Page<Grant>) -> Vec<&str> {
        page.entries.iter().map(|grant| grant.id.as_str()).collect()
    }

    #[tokio::test]
    async fn grants_are_listed_in_pages_without_those_that_ended_or_were_revoked() {
        let epoch = StoreEpoch {
            id: "b".to_owned(),
            at: NOW,
        };
        let view = RevocationView::read_once(epoch, &[], NOW);
        let records = Records::new(Arc::new(Memory::new())).with_view(view);
        let later = NOW + Duration::from_secs(60);
        // More than one reading: every third is bob's, every fifth has ended.
        for number in 0..1007 {
            let user = if number % 3 == 0 { "u_bob" } else { "u_alice" };
            let mut grant = grant(number, user, "c_1", later);
            records.put_grant(&grant).await.unwrap();
            if number % 5 == 0 {
                let kept = records.kept_grant(&grant.id, NOW).await.unwrap().unwrap();
                grant.expires = NOW;
                grant.refresh = None;
                let value = serde_json::to_vec(&grant).unwrap();
                // Remembered beyond its end, as grants with refresh tokens are.
                records
                    .store()
                    .put(
                        &Key::grant(&kept.grant.id),
                        &value,
                        Some(later + Duration::from_secs(60)),
                    )
                    .await
                    .unwrap();
            }
        }
        let revoked = GrantId::new("g_00003");
        records.revoke_grant(&revoked, later, NOW).await.unwrap();
        // A token request that overtook the revocation wrote it again.
        records
            .put_grant(&grant(3, "u_bob", "c_1", later))
            .await
            .unwrap();

        let bob = UserId::new("u_bob");
        let of = GrantsOf {
            user: Some(&bob),
            client: None,
        };
        let expected: Vec<String> = (0..1007)
            .filter(|number| number % 3 == 0 && number % 5 != 0 && *number != 3)
            .map(|number| format!("g_{number:05}"))
            .collect();
        let whole = records.grants(of, None, 10_000, NOW).await.unwrap();
        assert_eq!(ids(&whole), expected);
        assert_eq!(whole.next, None);

        let mut paged = Vec::new();
        let mut after = None;
        loop {
            let page = records.grants(of, after.as_deref(), 50, NOW).await.unwrap();
            assert!(page.entries.len() <= 50);
            paged.extend(ids(&page).into_iter().map(str::to_owned));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(paged, expected);

        let other = ClientId::new("c_2");
        let nothing = GrantsOf {
            user: Some(&bob),
            client: Some(&other),
        };
        let page = records.grants(nothing, None, 10, NOW).await.unwrap();
        assert_eq!((ids(&page), &page.next), (vec![], &None));
    }
}
