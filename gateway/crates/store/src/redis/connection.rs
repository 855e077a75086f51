//! The connection to a Redis server. Owns: connecting, deadlines, the subscription to hints, giving up
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
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, PushInfo,
    PushKind, RedisError, RedisResult, Role, ScriptInvocation, ServerErrorKind,
};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::failure::{Failure, Found};
use super::hints::Hints;
use super::replicas::{Replicated, heard_by};
use super::slots::{host_and_port, is_moving};
use super::target::Target;

/// For one command, with a new connection if need be.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_millis(500);
const RESPONSE: Duration = Duration::from_millis(700);
/// A connection on which the server refuses commands is given up after this time, because its name
/// may lead elsewhere by now (failover) or its password may have changed.
const TRUST: Duration = Duration::from_secs(1);
/// How long it is believed that a server is still the master that sentinels named. Less than sentinels
/// usually take to choose another.
const STILL_MASTER: Duration = Duration::from_secs(5);

/// The connection; clones share it.
#[derive(Clone)]
pub(super) struct SharedConnection(Arc<Inner>);

struct Inner {
    target: Target,
    /// How many replicas must have a write.
    wait: u32,
    /// Where hints come, if they are to come here.
    channel: Option<String>,
    runtime: Handle,
    current: Mutex<Option<Connection>>,
    hints: Arc<Hints>,
}

/// What is asked.
pub(super) struct Request {
    what: Question,
    /// Whether the answer counts only when enough replicas have what was done.
    durable: bool,
}

enum Question {
    Command(Cmd),
    /// The script's text is sent only to a server that does not know it.
    Script(ScriptInvocation<'static>),
}

impl From<Cmd> for Request {
    fn from(command: Cmd) -> Self {
        Self {
            what: Question::Command(command),
            durable: false,
        }
    }
}

impl From<ScriptInvocation<'static>> for Request {
    fn from(script: ScriptInvocation<'static>) -> Self {
        Self {
            what: Question::Script(script),
            durable: false,
        }
    }
}

impl Request {
    /// The same as a write that is acknowledged.
    pub(super) fn durable(self) -> Self {
        Self {
            durable: true,
            ..self
        }
    }

    async fn ask<T: FromRedisValue>(&self, wire: &mut MultiplexedConnection) -> RedisResult<T> {
        match &self.what {
            Question::Command(command) => command.query_async(wire).await,
            Question::Script(script) => script.invoke_async(wire).await,
        }
    }
}

#[derive(Clone)]
struct Connection {
    /// Of the server.
    host: String,
    wire: MultiplexedConnection,
    /// Where writes go, if replicas must have them.
    writes: Option<Replicated>,
    since: Instant,
    /// When it was last known to be to the master, and where that is.
    master: Option<(Instant, Found)>,
    dead: Arc<AtomicBool>,
}

impl Connection {
    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    fn give_up(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }
}

impl SharedConnection {
    /// A connection that is made when it is first needed. Its tasks live on `runtime`.
    pub(super) fn new(target: Target, wait: u32, channel: Option<String>, runtime: Handle) -> Self {
        Self(Arc::new(Inner {
            target,
            wait,
            channel,
            runtime,
            current: Mutex::new(None),
            hints: Arc::default(),
        }))
    }

    /// Sends a request, once, and waits a second at most.
    pub(super) async fn attempt<T: FromRedisValue + Send + 'static>(
        &self,
        request: Arc<Request>,
    ) -> Result<T, Failure> {
        let connection = Arc::clone(&self.0);
        // The task that drives a connection lives where it was made, so all are made in one place.
        let querying = self.0.runtime.spawn(async move {
            tokio::time::timeout(DEADLINE, connection.query(&request))
                .await
                .unwrap_or(Err(Failure::Late))
        });
        querying.await.unwrap_or(Err(Failure::Stopping))
    }

    /// The next request finds a new connection.
    pub(super) async fn give_up(&self) {
        if let Some(connection) = self.0.current.lock().await.as_ref() {
            connection.give_up();
        }
    }

    /// The host of the server that it is to at the moment.
    pub(super) async fn host(&self) -> Option<String> {
        let current = self.0.current.lock().await;
        current.as_ref().map(|connection| connection.host.clone())
    }

    /// What comes over the channel.
    pub(super) fn hints(&self) -> &Hints {
        &self.0.hints
    }
}

impl Inner {
    async fn query<T: FromRedisValue>(&self, request: &Request) -> Result<T, Failure> {
        let connection = self.connection().await?;
        let answer = match connection.writes.as_ref().filter(|_| request.durable) {
            None => {
                let mut wire = connection.wire.clone();
                request.ask(&mut wire).await.map_err(Failure::Refused)
            }
            Some(writes) => match request.ask(&mut writes.wire()).await {
                Ok(answer) => writes.confirm().await.map(|()| answer),
                Err(error) => Err(error.into()),
            },
        };
        if let Err(Failure::Refused(error)) = &answer
            && !is_about_slots(error)
            && (error.is_io_error() || connection.since.elapsed() > TRUST)
        {
            connection.give_up();
        }
        answer
    }

    /// The present connection, or a new one. Whoever comes while one is being made waits for it.
    async fn connection(&self) -> Result<Connection, Failure> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_mut()
            && !connection.is_dead()
        {
            self.check_master(connection).await?;
            return Ok(connection.clone());
        }
        *current = None;
        let connection = self.connect().await?;
        *current = Some(connection.clone());
        Ok(connection)
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let (client, found) = self.target.find().await?;
        let dead = Arc::new(AtomicBool::new(false));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(RESPONSE));
        let hints = Arc::clone(&self.hints);
        let hearing = config
            .clone()
            .set_push_sender(listener(Arc::clone(&dead), Some(hints)));
        let mut wire = connect(&client, &hearing).await?;
        if let Some(found) = &found {
            if !is_master(&mut wire).await? {
                return Err(Failure::NotMaster(host_and_port(&found.address)));
            }
            self.check_heard(&mut wire, Some(found)).await?;
        }
        let writes = match self.wait {
            0 => None,
            wait => {
                let cut = config.set_push_sender(listener(Arc::clone(&dead), None));
                Some(Replicated::new(connect(&client, &cut).await?, wait))
            }
        };
        if let Some(channel) = &self.channel
            && let Err(error) = wire.subscribe(channel).await
        {
            if error.is_io_error() {
                return Err(error.into());
            }
            log::debug!(event = "store_hints_refused"; "revocations are polled only: {error}");
        }
        let since = Instant::now();
        Ok(Connection {
            host: host_of(&client),
            wire,
            writes,
            since,
            master: found.map(|found| (since, found)),
            dead,
        })
    }

    /// Asks the sentinels again from time to time: a master that is cut off from them goes on as if it were
    /// one, and its revocations are no longer those that count.
    async fn check_master(&self, connection: &mut Connection) -> Result<(), Failure> {
        let Some((checked, known)) = &connection.master else {
            return Ok(());
        };
        if checked.elapsed() < STILL_MASTER {
            return Ok(());
        }
        let found = match self.target.find().await {
            Ok((_, found)) => {
                found.filter(|found| found.address == known.address || found.is_sure())
            }
            Err(_) => None,
        };
        if let Some(found) = &found
            && found.address != known.address
        {
            connection.give_up();
            return Err(Failure::NotMaster(host_and_port(&known.address)));
        }
        if let Err(failure) = self.check_heard(&mut connection.wire, found.as_ref()).await {
            connection.give_up();
            return Err(failure);
        }
        connection.master = Some((Instant::now(), known.clone()));
        Ok(())
    }

    /// A master that most sentinels don't vouch for must be heard by replicas at least.
    async fn check_heard(
        &self,
        wire: &mut MultiplexedConnection,
        found: Option<&Found>,
    ) -> Result<(), Failure> {
        if found.is_some_and(Found::is_sure) {
            return Ok(());
        }
        let needed = usize::try_from(self.wait.max(1)).unwrap_or(usize::MAX);
        if heard_by(wire).await? >= needed {
            return Ok(());
        }
        Err(Failure::CutOff(found.cloned()))
    }
}

/// Nothing for one behind a socket of this machine.
fn host_of(client: &Client) -> String {
    match client.get_connection_info().addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    }
}

/// A server that has not the slot may have others.
fn is_about_slots(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Moved)) || is_moving(error)
}

/// What is done with the messages that the server pushes: notices that the connection is gone, and takes in hints.
fn listener(
    dead: Arc<AtomicBool>,
    hints: Option<Arc<Hints>>,
) -> impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static {
    move |push| {
        if push.kind == PushKind::Disconnection {
            dead.store(true, Ordering::Relaxed);
        }
        if let Some(hints) = &hints {
            hints.take_in(&push);
        }
        Ok(())
    }
}

async fn connect(
    client: &Client,
    config: &AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection> {
    client
        .get_multiplexed_async_connection_with_config(config)
        .await
}

/// A user that may not ask for the role finds a replica by its refusals.
async fn is_master(wire: &mut MultiplexedConnection) -> RedisResult<bool> {
    match redis::cmd("ROLE").query_async(wire).await {
        Ok(role) => Ok(matches!(role, Role::Primary { .. })),
        Err(error) if error.code() == Some("NOPERM") => Ok(true),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConnection")
            .field("server", &self.0.target)
            .finish_non_exhaustive()
    }
}
