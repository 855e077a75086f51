//! The connection to the Redis server. Owns: connecting, deadlines, the subscription to hints, giving up
//! a connection that failed. Not: what is asked.
//!
//! Nothing is asked twice: a command whose answer was lost may have run, and asking again would
//! make one redemption of a code look like two. The caller's next command finds a new connection.
//! The library's own connection manager is not used because it keeps for ever a connection attempt
//! that failed for another reason than I/O, such as a wrong password that was mended since.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, ProtocolVersion, PushInfo, PushKind,
    RedisError, RedisResult, ScriptInvocation, TlsCertificates,
};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};

use super::examine::{corrupt, sentence};
use crate::error::{OpenError, StoreError};
use crate::url::RedisUrl;

/// For one command, with a new connection if need be.
const DEADLINE: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_millis(500);
const RESPONSE: Duration = Duration::from_millis(700);
/// A connection on which the server refuses commands is given up after this time, because its name
/// may lead elsewhere by now (failover) or its password may have changed.
const TRUST: Duration = Duration::from_secs(1);

/// The connection; clones share it.
#[derive(Clone)]
pub(super) struct SharedConnection(Arc<Inner>);

struct Inner {
    client: Client,
    channel: String,
    runtime: Handle,
    current: Mutex<Option<Connection>>,
    hint: Arc<Notify>,
}

/// What can be asked.
pub(super) enum Request {
    Command(Cmd),
    /// The script's text is sent only to a server that does not know it.
    Script(ScriptInvocation<'static>),
}

/// Why there is no answer.
pub(super) enum Failure {
    /// Not within [`DEADLINE`].
    Late,
    Stopping,
    /// The server, or the way to it, said no.
    Refused(RedisError),
}

#[derive(Clone)]
struct Connection {
    wire: MultiplexedConnection,
    since: Instant,
    dead: Arc<AtomicBool>,
}

impl SharedConnection {
    /// A connection that is made when it is first needed. Its tasks live on `runtime`.
    pub(super) fn new(url: &RedisUrl, channel: String, runtime: Handle) -> Result<Self, OpenError> {
        let settings = url.connection.redis_settings().clone();
        let connection = url
            .connection
            .clone()
            .set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3));
        let opened = match &url.authority {
            None => Client::open(connection),
            Some(path) => {
                let root_cert = std::fs::read(path).map_err(|error| {
                    OpenError::Redis(format!("{} can't be read: {error}", path.display()))
                })?;
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(root_cert),
                };
                Client::build_with_tls(connection, certificates)
            }
        };
        let client = opened.map_err(|error| OpenError::Redis(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            client,
            channel,
            runtime,
            current: Mutex::new(None),
            hint: Arc::new(Notify::new()),
        })))
    }

    /// Sends a request, once, and waits a second at most.
    pub(super) async fn query<T: FromRedisValue + Send + 'static>(
        &self,
        request: Request,
    ) -> Result<T, StoreError> {
        self.attempt(request).await.map_err(|failure| {
            StoreError::Away(match failure {
                Failure::Late => "Redis did not answer within a second".to_owned(),
                Failure::Stopping => "the gateway is stopping".to_owned(),
                Failure::Refused(error) => match corrupt(&error) {
                    Some(corrupt) => return corrupt.into(),
                    None => sentence(&error),
                },
            })
        })
    }

    /// The same, and what became of it as the library tells it.
    pub(super) async fn attempt<T: FromRedisValue + Send + 'static>(
        &self,
        request: Request,
    ) -> Result<T, Failure> {
        let connection = Arc::clone(&self.0);
        // The task that drives a connection lives where it was made, so all are made in one place.
        let querying = self.0.runtime.spawn(async move {
            tokio::time::timeout(DEADLINE, connection.query(&request))
                .await
                .map_err(|_| Failure::Late)?
                .map_err(Failure::Refused)
        });
        querying.await.unwrap_or(Err(Failure::Stopping))
    }

    /// Waits for a hint.
    pub(super) async fn hint(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.0.hint.notified()).await;
    }

    /// Tells the waiter of this very gateway.
    pub(super) fn give_hint(&self) {
        self.0.hint.notify_one();
    }
}

impl Inner {
    async fn query<T: FromRedisValue>(&self, request: &Request) -> RedisResult<T> {
        let mut connection = self.connection().await?;
        let answer = match request {
            Request::Command(command) => command.query_async(&mut connection.wire).await,
            Request::Script(script) => script.invoke_async(&mut connection.wire).await,
        };
        if let Err(error) = &answer
            && (error.is_io_error() || connection.since.elapsed() > TRUST)
        {
            connection.dead.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// The present connection, or a new one. Whoever comes while one is being made waits for it.
    async fn connection(&self) -> RedisResult<Connection> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref()
            && !connection.dead.load(Ordering::Relaxed)
        {
            return Ok(connection.clone());
        }
        *current = None;
        let dead = Arc::new(AtomicBool::new(false));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(RESPONSE))
            .set_push_sender(self.listener(Arc::clone(&dead)));
        let mut wire = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        if let Err(error) = wire.subscribe(&self.channel).await {
            if error.is_io_error() {
                return Err(error);
            }
            log::debug!(event = "store_hints_refused"; "revocations are polled only: {error}");
        }
        let connection = Connection {
            wire,
            since: Instant::now(),
            dead,
        };
        *current = Some(connection.clone());
        Ok(connection)
    }

    /// What is done with the messages that the server pushes.
    fn listener(
        &self,
        dead: Arc<AtomicBool>,
    ) -> impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static {
        let hint = Arc::clone(&self.hint);
        move |push| {
            match push.kind {
                PushKind::Message => hint.notify_one(),
                PushKind::Disconnection => {
                    dead.store(true, Ordering::Relaxed);
                    // The waiter's next question finds a new connection, which hears hints again.
                    hint.notify_one();
                }
                _ => {}
            }
            Ok(())
        }
    }
}

impl fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConnection")
            .field("server", &self.0.client.get_connection_info().addr())
            .finish_non_exhaustive()
    }
}
