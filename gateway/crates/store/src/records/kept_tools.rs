//! The chosen tools of tokens that have room for their digest alone: kept with the grant's record,
//! read once a choice and replica.
//!
//! What is read is taken only if it is the choice that the signed token names, so that a record that
//! was altered can't widen a token. A choice never changes under its digest: what the user approves
//! later travels as an amendment (`grants::amendment`), a revocation as an entry of the list. So what
//! was read is good for as long as it is remembered, and the store need not be asked again.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::access::Records;
use super::encoding::encode_value;
use crate::error::StoreError;
use crate::key::{Key, KeyKind};
use gateway_core::clock::Timestamp;
use gateway_core::grants::{DigestedTools, Grant, GrantId, SetDigest, Tools};

/// What all remembered choices take at most, in bytes.
const ROOM: u64 = 64 * 1024 * 1024;

/// About so many choices are remembered.
const CHOICES: usize = 1024;

/// What a name takes besides its own bytes.
const EACH: usize = 64;

/// The choices that this replica has read.
pub(super) struct KeptTools(Cache<SetDigest, Arc<DigestedTools>, Weight>);

#[derive(Clone)]
struct Weight;

impl Weighter<SetDigest, Arc<DigestedTools>> for Weight {
    fn weight(&self, _: &SetDigest, kept: &Arc<DigestedTools>) -> u64 {
        let names = kept.tools().names().into_iter();
        EACH as u64 + names.map(|name| (name.len() + EACH) as u64).sum::<u64>()
    }
}

impl Default for KeptTools {
    fn default() -> Self {
        Self(Cache::with_weighter(CHOICES, ROOM, Weight))
    }
}

impl fmt::Debug for KeptTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeptTools({})", self.0.len())
    }
}

/// Why the tools of a token are not known.
#[derive(Debug, thiserror::Error)]
pub enum ToolsUnknown {
    /// The store has no such choice of this grant: the token counts no more.
    #[error("the choice is not kept any more")]
    Gone,
    /// The store did not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Key {
    /// Of the tools that a grant allowed before it was amended, by their digest.
    pub fn earlier_tools(grant: &GrantId, digest: &SetDigest) -> Self {
        Self::new(KeyKind::EarlierTools, format!("tools:{grant}:{digest}"))
    }
}

impl Records {
    /// The tools that a token of `grant` was given for, where it says [`Tools::Kept`]; `None` where it
    /// says them itself. Asks the store the first time only, and once for a crowd.
    pub async fn tools_of(
        &self,
        grant: &GrantId,
        said: &Tools,
        now: Timestamp,
    ) -> Result<Option<Arc<DigestedTools>>, ToolsUnknown> {
        let Tools::Kept { digest, .. } = said else {
            return Ok(None);
        };
        let read = async {
            let kept = self.read_tools(grant, digest, now).await?;
            kept.map(Arc::new).ok_or(ToolsUnknown::Gone)
        };
        self.kept_tools
            .0
            .get_or_insert_async(digest, read)
            .await
            .map(Some)
    }

    /// The grant has the choice that its latest tokens are for. Those from before an amendment find
    /// theirs beside it.
    async fn read_tools(
        &self,
        grant: &GrantId,
        digest: &SetDigest,
        now: Timestamp,
    ) -> Result<Option<DigestedTools>, StoreError> {
        let is_it = |tools: &DigestedTools| tools.digest() == *digest;
        let kept = self.kept_grant(grant, now).await?;
        let Some(kept) = kept else {
            return Ok(None);
        };
        let current = DigestedTools::from(kept.grant.tools);
        if is_it(&current) {
            return Ok(Some(current));
        }
        let key = Key::earlier_tools(grant, digest);
        let earlier: Option<Tools> = self.load_value(&key, now).await?;
        Ok(earlier.map(DigestedTools::from).filter(is_it))
    }

    /// Keeps the choice of a grant that is about to be amended, for the tokens in use that name it.
    pub(super) async fn keep_earlier_tools(
        &self,
        grant: &Grant,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        if grant.tools.is_all() || grant.tools.fit_a_token() {
            return Ok(());
        }
        let key = Key::earlier_tools(&grant.id, &grant.tools.digest());
        self.store
            .put(&key, &encode_value(&grant.tools), Some(until))
            .await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::memory::Memory;
    use crate::store::Store;
    use gateway_core::client::ClientId;
    use gateway_core::clock::Clock;
    use gateway_core::grants::amendment::Amendment;
    use gateway_core::grants::{Pin, UserId};
    use gateway_core::protocol::resource::Resource;
    use gateway_core::protocol::scope::Scope;

    fn choice(count: usize, pin: u8) -> Tools {
        let pins = (0..count).map(|n| (format!("tool_{n:04}"), Pin::new([pin; 8])));
        Tools::Pinned(pins.collect())
    }

    fn grant(id: &str, tools: Tools, now: Timestamp) -> Grant {
        Grant {
            id: GrantId::new(id),
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            client: ClientId::new("c_1"),
            client_fingerprint: None,
            resource: Resource::from_token("https://mcp.example.com/mcp"),
            scope: Scope::parse("mcp"),
            tools,
            allowed_by: None,
            created: now,
            expires: now + Duration::from_secs(60),
            refresh: None,
            personal: None,
            redeemed: None,
        }
    }

    /// What a token says of them.
    fn said(tools: &Tools) -> Tools {
        Tools::Kept {
            digest: tools.digest(),
            count: 1,
        }
    }

    fn is_gone(read: Result<Option<Arc<DigestedTools>>, ToolsUnknown>) -> bool {
        matches!(read, Err(ToolsUnknown::Gone))
    }

    /// Part of the contract suite: a choice as large as a grant may have on every kind of store.
    pub(crate) async fn a_choice_is_kept_with_its_grant(store: &Arc<dyn Store>) {
        let now = Clock.now();
        let tools = choice(Tools::MOST, 1);
        assert!(tools.fit_a_grant());
        let grant = grant("g_many", tools.clone(), now);
        let writer = Records::new(Arc::clone(store));
        writer.put_grant(&grant).await.unwrap();
        let reader = Records::new(Arc::clone(store));
        let read = reader
            .tools_of(&grant.id, &said(&tools), now)
            .await
            .unwrap();
        assert_eq!(read.as_deref().map(DigestedTools::tools), Some(&tools));
        // What the token says itself needs no look.
        let small = Tools::Only(["a".to_owned()].into());
        let read = reader.tools_of(&grant.id, &small, now).await.unwrap();
        assert!(read.is_none());

        // The user approves a changed tool: tokens from before still find what they are for.
        let kept = writer.kept_grant(&grant.id, now).await.unwrap().unwrap();
        let amended = Grant {
            tools: match tools.clone() {
                Tools::Pinned(mut pins) => {
                    pins.insert("tool_0000".to_owned(), Pin::new([2; 8]));
                    Tools::Pinned(pins)
                }
                other => other,
            },
            ..grant.clone()
        };
        let amendment = Amendment {
            grant: grant.id.clone(),
            tool: "tool_0000".to_owned(),
            pin: Pin::new([2; 8]),
            at: now,
        };
        let until = now + Duration::from_secs(30);
        let done = writer
            .amend_grant(&kept, &amended, &amendment, [until, until], now)
            .await;
        done.unwrap();
        let reader = Records::new(Arc::clone(store));
        for tools in [&tools, &amended.tools] {
            let read = reader.tools_of(&grant.id, &said(tools), now).await.unwrap();
            assert_eq!(read.as_deref().map(DigestedTools::tools), Some(tools));
        }
        let reader = Records::new(Arc::clone(store));
        assert!(is_gone(
            reader.tools_of(&grant.id, &said(&tools), until).await
        ));
    }

    #[tokio::test]
    async fn a_choice_is_read_once_and_only_if_it_is_the_one_that_was_signed() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let now = Clock.now();
        let tools = choice(500, 1);
        let grant_of = |tools: &Tools| grant("g_1", tools.clone(), now);
        let records = Records::new(Arc::clone(&store));
        records.put_grant(&grant_of(&tools)).await.unwrap();
        let id = GrantId::new("g_1");
        let first = records.tools_of(&id, &said(&tools), now).await.unwrap();
        // Whatever becomes of the store, what was read is known, and is not read again.
        for other in [choice(501, 1), choice(500, 2), Tools::All, choice(0, 1)] {
            records.put_grant(&grant_of(&other)).await.unwrap();
            let again = records.tools_of(&id, &said(&tools), now).await.unwrap();
            assert!(Arc::ptr_eq(
                first.as_ref().unwrap(),
                again.as_ref().unwrap()
            ));
            // To whoever has not read it, an altered record is none.
            let fresh = Records::new(Arc::clone(&store));
            assert!(is_gone(fresh.tools_of(&id, &said(&tools), now).await));
        }
        store.remove(&Key::grant(&id)).await.unwrap();
        let fresh = Records::new(Arc::clone(&store));
        assert!(is_gone(fresh.tools_of(&id, &said(&tools), now).await));
        // Once it is back, it is found: that it was gone is not remembered.
        records.put_grant(&grant_of(&tools)).await.unwrap();
        assert!(
            fresh
                .tools_of(&id, &said(&tools), now)
                .await
                .unwrap()
                .is_some()
        );
        // Nor does another grant's token find it under its own name.
        let other = GrantId::new("g_2");
        let fresh = Records::new(Arc::clone(&store));
        assert!(is_gone(fresh.tools_of(&other, &said(&tools), now).await));
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let now = Clock.now();
        let records = Records::new(Arc::clone(&store));
        for n in 0..400_u16 {
            let id = format!("g_{n}");
            let Tools::Pinned(mut pins) = choice(1500, 1) else {
                unreachable!("it has pins")
            };
            pins.insert(id.clone(), Pin::new([1; 8]));
            let tools = Tools::Pinned(pins);
            records
                .put_grant(&grant(&id, tools.clone(), now))
                .await
                .unwrap();
            let read = records
                .tools_of(&GrantId::new(&id), &said(&tools), now)
                .await;
            assert!(read.unwrap().is_some());
            store.remove(&Key::grant(&GrantId::new(&id))).await.unwrap();
        }
        let weight = records.kept_tools.0.weight();
        assert!((1..=ROOM).contains(&weight), "{weight}");
        assert!(records.kept_tools.0.len() > 100);
    }
}
