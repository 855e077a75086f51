//! Redis Cluster over HTTP: replicas of the gateway share it, and a master of it dies under people who connect.

use anyhow::Result;
use tests::clustered_redis::ClusteredRedis;
use tests::redis::Redis;

use super::failover::{FailsOver, Tally, on, over_and_over};

impl FailsOver for ClusteredRedis {
    /// Each master has one replica.
    const IS_MISSED: bool = true;

    async fn master(&self, failover: usize) -> Result<usize> {
        self.master(failover).await
    }

    fn servers(&mut self) -> &mut [Redis] {
        &mut self.servers
    }

    async fn whole_again(&self) -> Result<()> {
        self.whole_again().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_of_a_cluster_loses_no_revocation_and_doubles_no_code() -> Result<()> {
    let mut redis = ClusteredRedis::start().await?;
    let fixture = on(redis.url()).await?;
    let mut tally = Tally::default();
    over_and_over(&fixture, &mut redis, 1, &mut tally).await?;
    assert!(tally.revoked > 0 && tally.outages > 0);
    Ok(())
}

/// The long form: `cargo test -p tests --test wire fifty_failovers -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes"]
async fn fifty_failovers_of_a_cluster_lose_no_revocation_and_double_no_code() -> Result<()> {
    let mut redis = ClusteredRedis::start().await?;
    let fixture = on(redis.url()).await?;
    let mut tally = Tally::default();
    over_and_over(&fixture, &mut redis, 50, &mut tally).await
}
