//! Lists of what is kept, a page at a time. Owns: which records count as still there. Not: the
//! records themselves (`records`).
//!
//! There is no index: a filter reads the whole table, in pages. That is for pages that a person
//! opens and commands that an operator types, never for a call.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::records::{Records, User, decode};
use crate::{StoreError, Table};
use gateway_core::access_token::LEEWAY;
use gateway_core::client::{Client, ClientId};
use gateway_core::clock::Timestamp;
use gateway_core::grants::authorization_code::AuthorizationCode;
use gateway_core::grants::{Grant, UserId};

/// Records read in one round trip.
const READ: usize = 500;

/// How long a request may take to redeem a code that was in time, with clocks that differ.
const IN_FLIGHT: Duration = Duration::from_secs(120);

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of their keys.
    pub entries: Vec<T>,
    /// What to go on after; `None` at the end of the list.
    pub next: Option<String>,
}

/// Which grants are meant: those that match all that is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrantsOf<'a> {
    /// Given by this person.
    pub user: Option<&'a UserId>,
    /// Given to this client.
    pub client: Option<&'a ClientId>,
}

impl GrantsOf<'_> {
    fn includes(&self, user: &UserId, client: &ClientId) -> bool {
        self.user.is_none_or(|of| of == user) && self.client.is_none_or(|of| of == client)
    }
}

impl Records {
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
        self.page(Table::Grant, after, limit, now, live).await
    }

    /// Every grant that a token may still name, also where it was cut off.
    pub async fn all_grants(
        &self,
        of: GrantsOf<'_>,
        now: Timestamp,
    ) -> Result<Vec<Grant>, StoreError> {
        let named =
            |grant: &Grant| of.includes(&grant.user, &grant.client) && now < grant.expires + LEEWAY;
        let page = self.page(Table::Grant, None, usize::MAX, now, named);
        Ok(page.await?.entries)
    }

    /// The codes that may be redeemed, or are being redeemed at this moment.
    pub async fn open_codes(
        &self,
        of: GrantsOf<'_>,
        now: Timestamp,
    ) -> Result<Vec<AuthorizationCode>, StoreError> {
        let open = |code: &AuthorizationCode| {
            of.includes(&code.user, &code.client) && now < code.expires + IN_FLIGHT
        };
        let page = self.page(Table::Code, None, usize::MAX, now, open);
        Ok(page.await?.entries)
    }

    /// Up to `limit` stored clients after the client `after`: those that registered themselves, and
    /// what is remembered of those with a metadata document. Not those of the configuration.
    pub async fn clients(
        &self,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page<Client>, StoreError> {
        self.page(Table::Client, after, limit, now, |_| true).await
    }

    /// Up to `limit` people after the one with the login name `after`.
    pub async fn users(
        &self,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page<User>, StoreError> {
        let after = after.map(str::to_lowercase);
        self.page(Table::User, after.as_deref(), limit, now, |_| true)
            .await
    }

    async fn page<T: DeserializeOwned>(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
        includes: impl Fn(&T) -> bool + Send,
    ) -> Result<Page<T>, StoreError> {
        let mut after = after.map(str::to_owned);
        let mut entries = Vec::new();
        loop {
            let read = self
                .store()
                .list(table, after.as_deref(), READ, now)
                .await?;
            let is_last = read.len() < READ;
            for (key, value) in read {
                let entry: T = decode(&value)?;
                if includes(&entry) {
                    if entries.len() == limit {
                        return Ok(Page {
                            entries,
                            next: after,
                        });
                    }
                    entries.push(entry);
                }
                after = Some(key);
            }
            if is_last {
                return Ok(Page {
                    entries,
                    next: None,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Memory, RevocationView, StoreEpoch};
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
            created: NOW,
            redeemed: None,
            expires: ends,
            refresh: None,
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
        for number in 0..2 * READ + 7 {
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
                        Table::Grant,
                        kept.grant.id.as_str(),
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
        let expected: Vec<String> = (0..2 * READ + 7)
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

        let stranger = ClientId::new("c_2");
        let nothing = GrantsOf {
            user: Some(&bob),
            client: Some(&stranger),
        };
        let page = records.grants(nothing, None, 10, NOW).await.unwrap();
        assert_eq!((ids(&page), &page.next), (vec![], &None));
    }
}
