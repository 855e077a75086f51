//! Where a connection is made to: the server of the URL, the master that sentinels name at that moment, or
//! who has a slot of a cluster then.

use std::fmt;
use std::sync::Arc;

use redis::Client;

use super::failure::{Failure, Found};
use super::reach::Reach;
use super::sentinels::Sentinels;
use super::topology::Topology;

/// What connections are made to.
pub(super) enum Target {
    /// The same server each time.
    Server(Client),
    /// The master, as sentinels know it at that moment.
    Master(Arc<Sentinels>, Reach),
    /// Whoever has a slot of a cluster at that moment.
    Owner(Arc<Topology>, u16),
}

impl Target {
    /// A client of the server to connect to now, and of a master how it was found.
    pub(super) async fn find(&self) -> Result<(Client, Option<Found>), Failure> {
        match self {
            Self::Server(client) => Ok((client.clone(), None)),
            Self::Owner(topology, slot) => {
                let owner = topology.owner(*slot).await?;
                Ok((topology.reach().client(owner)?, None))
            }
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
            Self::Owner(topology, slot) => write!(f, "slot {slot} of {}", topology.seeds()),
        }
    }
}
