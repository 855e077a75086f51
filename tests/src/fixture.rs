//! Where most tests begin: one gateway in front of one recording backend, with the
//! owner set up.

use anyhow::Result;

use crate::gateway::{Gateway, Owner, Setup};
use crate::oauth::OAuthClient;
use crate::recorder::Recorder;
use crate::redis::Redis;
use crate::scripted_mcp;

/// Which store a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// The embedded file.
    Embedded,
    /// A Redis server of the test's own.
    Redis,
}

/// A gateway, its backend, its store and its owner.
pub struct Fixture {
    /// The gateway.
    pub gateway: Gateway,
    /// The backend at `/`.
    pub backend: Recorder,
    /// The Redis server, when the store is one.
    pub redis: Option<Redis>,
    /// Who may log in.
    pub owner: Owner,
}

impl Fixture {
    /// The embedded store and the scripted MCP server.
    pub async fn start() -> Result<Self> {
        Self::with(StoreKind::Embedded, |setup| setup).await
    }

    /// The same on a given store.
    pub async fn on(store: StoreKind) -> Result<Self> {
        Self::with(store, |setup| setup).await
    }

    /// The same with a changed setup; the backend at `/` is already in it.
    pub async fn with(store: StoreKind, change: impl FnOnce(Setup) -> Setup) -> Result<Self> {
        let backend = Recorder::start(scripted_mcp::answer).await?;
        let redis = if store == StoreKind::Redis {
            Some(Redis::start().await?)
        } else {
            None
        };
        let setup = Setup {
            store: redis.as_ref().map(Redis::url),
            ..Setup::default()
        }
        .backend(&backend.url());
        let gateway = Gateway::start(change(setup)).await?;
        Ok(Fixture {
            gateway,
            backend,
            redis,
            owner: Owner::alice(),
        })
    }

    /// Another gateway on the same Redis, with the same keys and the same public URL, on a port of
    /// its own: what is sent to it must carry the Host of [`Gateway::issuer`].
    pub async fn replica(&self, change: impl FnOnce(Setup) -> Setup) -> Result<Gateway> {
        let keys = self.gateway.folder().join("keys");
        let setup = Setup {
            store: self.redis.as_ref().map(Redis::url),
            public_url: Some(self.gateway.issuer()),
            environment: vec![("GATEWAY__KEYS_DIR".into(), keys.display().to_string())],
            ..Setup::default()
        };
        Gateway::start(change(setup.backend(&self.backend.url()))).await
    }

    /// A URL of the gateway.
    pub fn url(&self, path: &str) -> String {
        self.gateway.url(path)
    }

    /// A newly registered public client.
    pub async fn client(&self, name: &str) -> Result<OAuthClient> {
        OAuthClient::register(&self.gateway.origin(), name).await
    }

    /// A client and its access token for `/mcp`, through the real pages.
    pub async fn signed_in(&self) -> Result<(OAuthClient, String)> {
        let client = self.client("A test client").await?;
        let token = client.sign_in(&self.owner).await?;
        Ok((client, token))
    }
}
