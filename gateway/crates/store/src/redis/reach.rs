//! How connections are made, to whichever server.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    ProtocolVersion, RedisConnectionInfo, TlsCertificates,
};

use crate::error::OpenError;
use crate::url::RedisUrl;

/// How connections are made, to whichever server.
#[derive(Clone)]
pub(super) struct Reach {
    /// User, password and database.
    settings: RedisConnectionInfo,
    tls: bool,
    /// Certificate authorities (PEM) instead of the system's.
    authority: Option<Vec<u8>>,
}

impl Reach {
    pub(super) fn new(url: &RedisUrl) -> Result<Self, OpenError> {
        let read = |path: &std::path::PathBuf| {
            std::fs::read(path).map_err(|error| {
                OpenError::Redis(format!("{} can't be read: {error}", path.display()))
            })
        };
        Ok(Self {
            settings: url.settings.clone().set_protocol(ProtocolVersion::RESP3),
            tls: url.tls,
            authority: url.authority.as_ref().map(read).transpose()?,
        })
    }

    /// The same for servers that want another user and password, and have no databases.
    pub(super) fn with(&self, settings: &RedisConnectionInfo) -> Self {
        Self {
            settings: settings.clone(),
            ..self.clone()
        }
    }

    /// A client of a server.
    pub(super) fn client(&self, (host, port): (String, u16)) -> redis::RedisResult<Client> {
        self.client_at(if self.tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        })
    }

    pub(super) fn client_at(&self, address: ConnectionAddr) -> redis::RedisResult<Client> {
        let info: ConnectionInfo = address.into_connection_info()?;
        let info = info.set_redis_settings(self.settings.clone());
        match &self.authority {
            None => Client::open(info),
            Some(_) => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: self.authority.clone(),
                };
                Client::build_with_tls(info, certificates)
            }
        }
    }
}

/// A connection to a server that is asked for nothing but where another one is: it may take `patience`, and each
/// answer, too.
pub(super) async fn connected(
    client: &Client,
    patience: Duration,
) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        .set_response_timeout(Some(patience));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}
