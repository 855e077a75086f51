//! Where a connection is made to: the server of the URL, or the master that sentinels name at that moment.

use std::fmt;
use std::sync::Arc;

use redis::Client;

use super::failure::{Failure, Found};
use super::reach::Reach;
use super::sentinels::Sentinels;
use crate::error::OpenError;
use crate::url::{RedisUrl, Servers};

/// What connections are made to.
pub(super) enum Target {
    /// The same server each time.
    Server(Client),
    /// The master, as sentinels know it at that moment.
    Master(Arc<Sentinels>, Reach),
}

impl Target {
    pub(super) fn new(url: &RedisUrl) -> Result<Self, OpenError> {
        let reach = Reach::new(url)?;
        let refused = |error: redis::RedisError| OpenError::Redis(error.to_string());
        match &url.servers {
            Servers::One(address) => {
                let client = reach.client_at(address.clone()).map_err(refused)?;
                Ok(Self::Server(client))
            }
            Servers::Sentinels(named) => {
                let sentinels = Sentinels::new(named, &reach).map_err(refused)?;
                Ok(Self::Master(Arc::new(sentinels), reach))
            }
        }
    }

    /// A client of the server to connect to now, and of a master how it was found.
    pub(super) async fn find(&self) -> Result<(Client, Option<Found>), Failure> {
        match self {
            Self::Server(client) => Ok((client.clone(), None)),
            Self::Master(sentinels, reach) => {
                let found = sentinels.find().await.map_err(Failure::Sentinels)?;
                let client = reach.client(found.address.clone());
                Ok((client.map_err(Failure::Refused)?, Some(found)))
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(client) => write!(f, "{}", client.get_connection_info().addr()),
            Self::Master(sentinels, _) => sentinels.fmt(f),
        }
    }
}
