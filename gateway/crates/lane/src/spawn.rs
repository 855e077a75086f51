//! Tasks for connections: one that serves requests, a small one for each stream, and whatever the
//! other road takes.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::lane::{Connection, Handover, Lane, Next};
use super::service::Service;
use super::stream::EventStream;

/// Serves a connection in a task of its own. `guard` lives for as long as the connection is served here;
/// `other_road` gets it with a connection that is not the lane's any more.
pub fn spawn<IO, S, G, F>(lane: Arc<Lane<S>>, connection: Connection<IO>, guard: G, other_road: F)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
    G: Send + 'static,
    F: FnOnce(Handover<IO>, G) + Send + 'static,
{
    tokio::spawn(async move {
        match lane.serve(connection).await {
            Next::Closed => {}
            Next::Handover(handover) => other_road(handover, guard),
            Next::Stream(stream) => spawn_stream(lane, stream, guard, other_road),
        }
    });
}

fn spawn_stream<IO, S, G, F>(
    lane: Arc<Lane<S>>,
    stream: EventStream<IO, S>,
    guard: G,
    other_road: F,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
    G: Send + 'static,
    F: FnOnce(Handover<IO>, G) + Send + 'static,
{
    tokio::spawn(async move {
        if let Some(connection) = stream.run().await {
            spawn(lane, connection, guard, other_road);
        }
    });
}
