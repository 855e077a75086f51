//! The first words with a process: the `initialize` of its one client, `server/discover` for a client
//! without sessions, or both, to find out what the program speaks.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use mcp_protocol::to_stateful::{self, Caller};
use mcp_protocol::{
    Id, LATEST_STATEFUL, Message, Object, RevisionFamily, STATELESS, code, is_stateful_revision,
    meta,
};
use serde::Serialize;
use tokio::time::timeout;

use crate::bridge::connection::exchange::{Exchange, OnLeave};
use crate::bridge::connection::{Asking, Connection};
use crate::bridge::failure::Failure;
use crate::bridge::pool::server::SharedConfig;

/// A server that never heard of `server/discover` may keep silent about it, one without sessions about
/// `initialize`.
pub(crate) const PROBE: Duration = Duration::from_secs(5);

/// How a process is said hello to.
#[derive(Debug)]
pub enum Opening {
    /// With the `initialize` of the one client that it is for.
    OfClient(Message),
    /// With `server/discover` of this client without sessions.
    OfCaller(Caller),
    /// On behalf of nobody in particular, in what the program speaks. The first time that is found out.
    OfNobody,
    /// On behalf of nobody in particular, with `initialize`.
    InSession,
}

/// What a process said when it was said hello to.
#[derive(Debug)]
pub enum HandshakeResult {
    /// The result of `initialize`, as it was sent and as it is understood.
    Sessions(Object, to_stateful::ServerInfo),
    /// The result of `server/discover`.
    Stateless(Object),
}

impl std::fmt::Display for HandshakeResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (info, revision) = match self {
            Self::Sessions(result, said) => (result.object("serverInfo"), said.revision.as_str()),
            Self::Stateless(result) => {
                let meta = result.object("_meta").unwrap_or_default();
                (meta.object(meta::SERVER_INFO), STATELESS)
            }
        };
        let info = info.unwrap_or_default();
        let part = |name: &str| info.text(name).unwrap_or_default();
        write!(f, "{} {} ({revision})", part("name"), part("version"))
    }
}

/// Says hello to a process that has just been started.
///
/// # Errors
/// It refuses, ends, or keeps silent for too long.
pub(crate) async fn hello(
    config: &SharedConfig,
    connection: &Arc<Connection>,
    opening: &Opening,
) -> Result<HandshakeResult, Failure> {
    let patience = config.patience();
    let hello = async {
        match opening {
            Opening::OfClient(initialize) => {
                initialized(&mut ask(config, connection, initialize.clone()).await?).await
            }
            Opening::OfCaller(caller) => by_discover(config, connection, caller).await,
            Opening::OfNobody | Opening::InSession => {
                let families = config.families();
                let in_session = matches!(opening, Opening::InSession);
                let hello = if in_session || families.has(RevisionFamily::Stateful) {
                    initialized(&mut ask(config, connection, initialize()).await?).await?
                } else if families.has(RevisionFamily::Stateless) {
                    by_discover(config, connection, &nobody()).await?
                } else if config.initialize_first.load(Ordering::Relaxed) {
                    by_initialize(config, connection).await?
                } else {
                    find_out(config, connection).await?
                };
                if matches!(hello, HandshakeResult::Sessions(..)) {
                    connection.write(&to_stateful::initialized()).await?;
                }
                Ok(hello)
            }
        }
    };
    let hello = timeout(patience, hello)
        .await
        .map_err(|_| Failure::NoHello(patience))
        .flatten()
        .map_err(|failure| {
            // What ended can refuse nothing: its end is what is told.
            match (failure, connection.how_it_ended()) {
                (Failure::Refused(_), Some(end)) => Failure::Ended(end),
                (failure, _) => failure,
            }
        })?;
    config.is_proven.store(true, Ordering::Relaxed);
    Ok(hello)
}

/// Asks a process what it speaks: `server/discover` first (2026-07-28, stdio, Backward Compatibility),
/// then `initialize`, which ties it to a session. One that is slow to start finds both, and may answer
/// both.
async fn find_out(
    config: &SharedConfig,
    connection: &Arc<Connection>,
) -> Result<HandshakeResult, Failure> {
    let mut discover = ask(config, connection, discover(&nobody())).await?;
    let mut discovering = pin!(async { Discovery::from_answer(&discover.answer().await) });
    let first = timeout(PROBE, &mut discovering).await;
    if let Ok(Discovery::Stateless(hello)) = first {
        return learn(config, hello?);
    }
    let mut asked = ask(config, connection, initialize()).await?;
    if let Ok(discovery) = first {
        let session = initialized(&mut asked).await;
        return learn_session(config, connection, &discovery, session);
    }
    let (session, discovery) = tokio::select! {
        biased;
        session = initialized(&mut asked) => {
            let discovery = match session {
                Ok(_) => discovering.now_or_never(),
                Err(_) => timeout(PROBE, discovering).await.ok(),
            };
            (session, discovery.unwrap_or(Discovery::Unclear))
        }
        discovery = &mut discovering => {
            let session = match discovery {
                Discovery::Stateless(_) => timeout(PROBE, initialized(&mut asked))
                    .await
                    .unwrap_or(Err(Failure::NoHello(PROBE))),
                _ => initialized(&mut asked).await,
            };
            (session, discovery)
        }
    };
    match (session, discovery) {
        (Ok(session), Discovery::Stateless(Ok(stateless))) => {
            learn(config, stateless)?;
            learn(config, session)
        }
        (Err(_), Discovery::Stateless(stateless)) => learn(config, stateless?),
        (session, discovery) => learn_session(config, connection, &discovery, session),
    }
}

/// Asks a process of a program that may not know `server/discover`: an earlier one ended at it. Why is not
/// known, so a refusal teaches nothing.
async fn by_initialize(
    config: &SharedConfig,
    connection: &Arc<Connection>,
) -> Result<HandshakeResult, Failure> {
    let mut asked = ask(config, connection, initialize()).await?;
    learn(config, initialized(&mut asked).await?)
}

/// Takes note of what a process said to `initialize`. One that has said that it does not know
/// `server/discover`, refuses in words of its own, and goes on, refuses who asks: it has sessions.
fn learn_session(
    config: &SharedConfig,
    connection: &Connection,
    discovery: &Discovery,
    said: Result<HandshakeResult, Failure>,
) -> Result<HandshakeResult, Failure> {
    if let Err(Failure::Refused(error)) = &said
        && matches!(discovery, Discovery::Refused)
        && !matches!(
            error.code(),
            code::METHOD_NOT_FOUND | code::UNSUPPORTED_VERSION | code::INTERNAL
        )
        && connection.how_it_ended().is_none()
    {
        config.learn(RevisionFamily::Stateful);
    }
    learn(config, said?)
}

/// Takes note of what the program speaks.
fn learn(config: &SharedConfig, hello: HandshakeResult) -> Result<HandshakeResult, Failure> {
    config.learn(match hello {
        HandshakeResult::Sessions(..) => RevisionFamily::Stateful,
        HandshakeResult::Stateless(_) => RevisionFamily::Stateless,
    });
    Ok(hello)
}

pub(crate) async fn ask(
    config: &SharedConfig,
    connection: &Arc<Connection>,
    request: Message,
) -> Result<Exchange, Failure> {
    let asking = Asking {
        owner: u64::MAX,
        on_leave: OnLeave::Forget,
        patience: config.patience(),
    };
    connection.ask(request, asking).await
}

fn initialize() -> Message {
    to_stateful::initialize(&nobody(), &Id::number(0), LATEST_STATEFUL)
}

async fn initialized(asked: &mut Exchange) -> Result<HandshakeResult, Failure> {
    let answer = asked.answer().await;
    if let Some(error) = answer.failure() {
        return Err(Failure::Refused(error));
    }
    let result = answer.outcome().unwrap_or_default();
    let server = to_stateful::ServerInfo::from_initialized(&result).ok_or_else(|| {
        Failure::NotStarted("its answer to `initialize` names no protocol version".to_owned())
    })?;
    Ok(HandshakeResult::Sessions(result, server))
}

fn discover(caller: &Caller) -> Message {
    let params = envelope(&caller.client_info(), &caller.capabilities);
    Message::request(&Id::number(0), "server/discover", &params)
}

/// The parameters that say nothing but who asks.
fn envelope(info: &impl Serialize, capabilities: &Object) -> Object {
    let meta = Object::new()
        .with(meta::VERSION, STATELESS)
        .with(meta::CLIENT_INFO, info)
        .with(meta::CLIENT_CAPABILITIES, capabilities);
    Object::new().with("_meta", &meta)
}

async fn by_discover(
    config: &SharedConfig,
    connection: &Arc<Connection>,
    caller: &Caller,
) -> Result<HandshakeResult, Failure> {
    let mut asked = ask(config, connection, discover(caller)).await?;
    let answer = asked.answer().await;
    match Discovery::from_answer(&answer) {
        Discovery::Stateless(hello) => hello,
        Discovery::Refused | Discovery::Unclear => Err(match answer.failure() {
            Some(error) => Failure::Refused(error),
            None => Failure::NotStarted(format!("it no longer speaks {STATELESS}")),
        }),
    }
}

/// What came of `server/discover`.
enum Discovery {
    /// The server has no sessions, be it of our revision or of another.
    Stateless(Result<HandshakeResult, Failure>),
    /// It knows no such thing: whether it has sessions is for `initialize` to find out.
    Refused,
    /// No answer, or one that another process may not give: a fault of the moment explains it, too.
    Unclear,
}

/// What a server says for want of a better code. JSON-RPC leaves it to each what that is.
const SERVER_ERROR: i64 = -32000;

impl Discovery {
    fn from_answer(answer: &Message) -> Self {
        if let Some(error) = answer.failure() {
            // A stateless server of another revision: `initialize` would be wrong, and so are we.
            let is_stateless = error.code() == code::UNSUPPORTED_VERSION;
            let supported = error.data().and_then(|data| data.read("supported"));
            let supported: Vec<String> = supported.unwrap_or_default();
            let speaks_sessions = supported.iter().any(|it| is_stateful_revision(it));
            return match error.code() {
                _ if is_stateless && !speaks_sessions => {
                    Self::Stateless(Err(Failure::Refused(error)))
                }
                code::INTERNAL | SERVER_ERROR => Self::Unclear,
                _ => Self::Refused,
            };
        }
        let result = answer.outcome().unwrap_or_default();
        let versions: Vec<String> = result.read("supportedVersions").unwrap_or_default();
        if versions.iter().any(|version| version == STATELESS) {
            Self::Stateless(Ok(HandshakeResult::Stateless(result)))
        } else {
            Self::Unclear
        }
    }
}

/// The caller on whose behalf a process for several is said hello to: one that can do nothing.
pub(crate) fn nobody() -> Caller {
    let info = Object::new()
        .with("name", "mcp-backend bridge")
        .with("version", env!("CARGO_PKG_VERSION"));
    let request = Message::notification("", &envelope(&info, &Object::new()));
    Caller::from_message(&request).expect("the members that are asked for are all there")
}
