//! Translation: a client of one era of MCP in front of a backend of another. Where the backend
//! speaks the client's era nothing here runs, and the bytes pass as they are (`exchange`).
//!
//! | client | HTTP+SSE only | 2025 only | 2026-07-28 only |
//! |---|---|---|---|
//! | 2024-11-05, HTTP+SSE | as it is | `old_stream` over a session | `old_stream`, stateless calls |
//! | 2025, sessions | `own_session` over a held stream | as it is | `own_session`, nothing kept |
//! | 2026-07-28 | `stateless` over a held stream | `stateless` over a held session | as it is |
//!
//! # What is chosen, and why
//!
//! *Unknown passes.* What a backend speaks is asked in the background
//! ([`crate::backend::Spoken`]). Until that is known, and for every era about which the backend did
//! not answer, requests pass as they are. A backend of two eras gets both as they are.
//!
//! *`server/discover` is special.* Most clients of 2026-07-28 know older revisions, too. They ask
//! `server/discover` first; a backend that does not know it refuses, and they fall back to
//! `initialize`, which passes byte for byte and loses nothing. Answering in the backend's stead
//! would keep them from that. So the refusal passes the first time. A client that comes back with
//! `server/discover` and has not said `initialize` in between knows nothing older: it is answered
//! from then on, and so is every other request of 2026-07-28 at any time, because no client that
//! could fall back sends one after a refusal. `backend[].answer_discover` answers the first time.
//! That memory belongs to the grant, not to the client id, which several programs may have; it is
//! bounded and each replica's own, and losing it costs one refusal.
//!
//! *As little as possible is kept.* A session in front of a stateless backend is written into its
//! id, tagged for user, client and backend: replicas agree on it and a restart does not end it;
//! only the log level, resource subscriptions and questions on their way are in memory. A session
//! with a backend is held in memory, bounded, ended when idle, revoked or expired. When a stateless
//! client's is lost, it is remade without a word; when it is another client's, the answer is 404
//! and the client begins anew. Streams and what is posted for them meet on one replica: several
//! replicas need a balancer that keeps a client on one of them, as HTTP+SSE always did.
//!
//! # What can't be translated
//!
//! | what | what is answered |
//! |---|---|
//! | an answer of more than 64 MiB, more than 1,024 requests of a session at once | -32603 that names the limit |
//! | a message array (2025-03-26) | 400 |
//! | `Last-Event-ID`: translated streams have no event ids | ignored; a new stream begins |
//! | a backend's question to a stateless client outside of `tools/call`, `prompts/get`, `resources/read`, or not declared by it | the backend gets -32601 |
//! | two questions of a backend at once, in one call of a stateless client | asked one after the other |
//! | a `requestState` after a restart or after 10 minutes | -32602 |
//! | `GET` for a stateless backend that never speaks unasked | 405 |
//! | a version later than 2026-07-28 | -32022 with the one that is spoken |
//! | capabilities of a client larger than a session id has room for (3 KiB) | 400 |
//!
//! One session stands behind all that a stateless client says under the same name, with the same
//! capabilities and under the same grant: a backend that keeps state per session shares it between
//! that person's conversations in that client. The crate [`eras`] lists what is lost in messages.

mod front;
mod kept_session;
mod link;
mod links;
mod mirrored;
mod old_stream;
mod own_session;
mod parked;
mod stateless;
mod subscription;
mod task;
mod voice;
mod way;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use eras::{Message, RpcError, to_sessions};
use http::{HeaderMap, HeaderValue};
use pingora::protocols::http::ServerSession;
use quick_cache::sync::Cache;
use rand::rngs::OsRng;

pub(super) use self::way::{Back, Way, era};

use self::front::Front;
use self::kept_session::Memory;
use self::link::Wire;
use self::links::Links;
use self::mirrored::MirroredTools;
use self::old_stream::OldStreams;
use self::own_session::Written;
use self::parked::Parked;
use self::voice::Voice;
use self::way::Habits;
use super::admission::Admitted;
use super::rejection::Rejection;
use super::serve::{ProxyError, RequestContext};
use super::sessions::StateTags;
use super::{MountedBackend, ProxyState};
use crate::policy::Permit;
use crate::secret;

/// How many sessions in front of stateless backends are remembered beyond their ids.
const MEMORIES: usize = 8192;

/// What translations keep. All of it is bounded, and all of it may be lost.
pub(super) struct Translator {
    habits: Habits,
    links: Arc<Links>,
    old_streams: Arc<OldStreams>,
    memories: Cache<String, Arc<Memory>>,
    parked: Arc<Parked>,
    mirrored: Arc<MirroredTools>,
    /// The next id of a request over a shared session.
    requests: AtomicU64,
}

impl Default for Translator {
    fn default() -> Self {
        Self {
            habits: Habits::default(),
            links: Arc::default(),
            old_streams: Arc::default(),
            memories: Cache::new(MEMORIES),
            parked: Arc::default(),
            mirrored: Arc::default(),
            requests: AtomicU64::new(1),
        }
    }
}

impl ProxyState {
    /// Exchanges one request of a client with a backend of another era.
    pub(super) async fn translate(
        &self,
        session: &mut ServerSession,
        context: &RequestContext,
        mounted: &MountedBackend,
        way: Way,
        admitted: Admitted,
        origin: Option<&HeaderValue>,
    ) -> Result<(), ProxyError> {
        let Admitted {
            permit,
            lifetime,
            body,
            ..
        } = admitted;
        let message = match body {
            None => None,
            Some(body) => Some(read(&body)?),
        };
        let conversation = match &way {
            Way::OwnSession(name) | Way::OldMessage(name) => name.clone(),
            Way::OldStream(_) => secret::identifier("", &mut OsRng),
            _ => String::new(),
        };
        let front = Front {
            state: self,
            mounted,
            context,
            lifetime,
            claims: permit.token().claims().clone(),
            token: permit.token().clone(),
            calls: permit.calls().to_vec(),
            conversation,
            origin,
            way: way.name(),
        };
        let headers = &session.req_header().headers;
        let voice = Voice::new(self, mounted, permit, headers, self.hold(context))?;
        let translator = &self.translator;
        match (way, message) {
            (Way::OldStream(back), _) => translator.open_old_stream(&front, session, back).await,
            (Way::OldMessage(name), Some(message)) => {
                translator
                    .post_to_old_stream(&front, session, &name, voice, message)
                    .await
            }
            (Way::Begin(Back::Stateless), Some(message)) => {
                translator
                    .begin_stateless(&front, session, voice, &message)
                    .await
            }
            (Way::Begin(Back::HttpSse), Some(message)) => {
                translator
                    .begin_over_stream(&front, session, voice, message)
                    .await
            }
            (Way::OwnSession(text), message) => {
                let written = Written::read(&text).ok_or(Rejection::SessionUnknown)?;
                translator
                    .in_own_session(&front, session, voice, written, message)
                    .await
            }
            (Way::Stateless(back), Some(message)) => {
                let wire = match back {
                    Back::HttpSse => Wire::HttpSse,
                    _ => Wire::Streamable,
                };
                translator
                    .take_stateless(&front, session, voice, wire, message)
                    .await
            }
            // `way` names no other pair.
            _ => Err(Rejection::NotFound.into()),
        }
    }
}

impl ProxyState {
    /// Gives up a call of a stateless client that waits for what a refused `retry` was to answer: the
    /// backend is told so, and that nobody waits for the call any more.
    pub(super) async fn give_up(
        &self,
        headers: &HeaderMap,
        mounted: &MountedBackend,
        permit: Permit,
        retry: &Message,
        error: &RpcError,
    ) {
        let claims = permit.token().claims();
        let states = StateTags::new(&self.sessions, claims, &mounted.backend.mount);
        let parked = to_sessions::request_state(retry)
            .and_then(|state| states.unbind(&state))
            .and_then(|name| self.translator.parked.take(&name, retry));
        let Some((underway, asked)) = parked else {
            return;
        };
        let link = underway.link.lock().clone();
        let account = self.budget.hold(None, claims.grant.as_str());
        let voice = Voice::new(self, mounted, permit, headers, account);
        if let (Some(link), Some(id), Ok(voice)) = (link, asked.id(), voice) {
            // Dropped then, the call is cancelled.
            let _ = link.tell(&voice, &Message::error(Some(&id), error)).await;
        }
    }
}

fn read(body: &[u8]) -> Result<Message, Rejection> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    Message::parse(text).map_err(|_| {
        let what = "message arrays are not translated for a backend of another revision";
        Rejection::BadMessage(what.to_owned())
    })
}
