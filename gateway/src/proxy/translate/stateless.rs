//! A client of 2026-07-28 in front of a backend with sessions: the gateway holds one session for
//! all that the client says, and remakes it without a word when it is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eras::to_sessions::{self, Caller, Passing, Server};
use eras::{Id, Kind, LATEST_SESSIONS, Message, RpcError, code, meta};
use parking_lot::Mutex;
use pingora::protocols::http::ServerSession;
use sha2::{Digest as _, Sha256};

use super::Translator;
use super::front::{Front, rpc_id};
use super::kept_session::failed;
use super::link::{Link, Trouble, Wire};
use super::links::{Key, Links, Owner};
use super::parked::Parked;
use super::task::{Answers, Outlet};
use super::voice::Voice;
use crate::proxy::lifetime::StreamLifetime;
use crate::proxy::rejection::Rejection;
use crate::proxy::serve::ProxyError;
use crate::proxy::sessions::StateTags;

/// The session that stands behind what a stateless client says.
#[derive(Clone)]
pub(super) struct Behind {
    links: Arc<Links>,
    key: Key,
    wire: Wire,
    caller: Caller,
    lifetime: StreamLifetime,
}

impl Behind {
    /// The session, opened if there is none.
    async fn link(&self, voice: &Arc<Voice>) -> Result<Arc<Link>, Trouble> {
        if let Some(link) = self.links.find(&self.key, &self.lifetime) {
            return Ok(link);
        }
        let _turn = self.links.turn(&self.key).await;
        if let Some(link) = self.links.find(&self.key, &self.lifetime) {
            return Ok(link);
        }
        let initialize =
            to_sessions::initialize(&self.caller, &Id::text("gateway"), LATEST_SESSIONS);
        let link = Link::open(Arc::clone(voice), self.wire, initialize).await?;
        if link.hello.is_error() {
            return Err(Trouble::Refused(200));
        }
        link.tell(voice, &to_sessions::initialized()).await?;
        self.links
            .keep(self.key.clone(), Arc::clone(&link), &self.lifetime);
        Ok(link)
    }

    /// Forgets a session that the backend has forgotten.
    fn lost(&self, link: &Arc<Link>) {
        self.links.end_this(&self.key, link);
    }
}

/// The session of a call, known from when it was sent.
type Running = Arc<Mutex<Option<Arc<Link>>>>;

/// A call of a stateless client on its way.
pub(super) struct Underway {
    pub(super) answers: Answers,
    /// The session that it runs in, once it does.
    pub(super) link: Running,
    pub(super) behind: Behind,
    pub(super) method: String,
    pub(super) name: Option<String>,
}

/// Who the backend of a session is.
pub(super) fn server_of(link: &Link) -> Option<Server> {
    link.hello.outcome().and_then(|result| Server::of(&result))
}

/// Statuses of 2026-07-28, for responses of the method `M` that are the whole answer.
fn status_of(message: &Message) -> u16 {
    message.failure().map_or(200, |error| error.status(false))
}

impl Translator {
    /// One request or notification of a stateless client.
    pub(super) async fn take_stateless(
        &self,
        front: &Front<'_>,
        session: &mut ServerSession,
        voice: Arc<Voice>,
        wire: Wire,
        message: Message,
    ) -> Result<(), ProxyError> {
        let Some(id) = message.id().filter(|_| message.kind() == Kind::Request) else {
            // The core has no notifications of clients, and nobody waits for others.
            return front.accept(session, 202).await;
        };
        let caller = match Caller::of(&message) {
            Ok(caller) => caller,
            Err(refused) => {
                let refusal = refused.response(Some(&id));
                return front.respond(session, &refusal, 400, None).await;
            }
        };
        let behind = Behind {
            links: Arc::clone(&self.links),
            key: Key {
                owner: Owner::of(&front.claims, &front.mounted.backend.mount.name),
                name: URL_SAFE_NO_PAD.encode(Sha256::digest(caller.identity())),
            },
            wire,
            caller: caller.clone(),
            lifetime: front.lifetime.clone(),
        };
        let method = message.method();
        let states = StateTags::new(
            &front.state.sessions,
            &front.claims,
            &front.mounted.backend.mount,
        );
        if let Some(state) = to_sessions::request_state(&message) {
            let parked = states
                .unbind(&state)
                .and_then(|name| self.parked.take(&name, &message));
            let answers = match parked {
                Some(parked) => self.resumed(parked, voice, id.clone(), caller, message, states),
                None => {
                    let sentence = "requestState is unknown here or has run out";
                    let error = RpcError::new(code::INVALID_PARAMS, sentence);
                    Answers::one(Message::error(Some(&id), &error))
                }
            };
            return front.answer(session, answers, Some(&id), status_of).await;
        }
        let request = match to_sessions::request(message.clone()) {
            Ok(request) => request,
            Err(error) => {
                let status = error.status(false);
                let refusal = Message::error(Some(&id), &error);
                return front.respond(session, &refusal, status, None).await;
            }
        };
        if matches!(method.as_str(), "server/discover" | "subscriptions/listen") {
            let link = front
                .while_wanted(session, behind.link(&voice))
                .await?
                .inspect_err(|_| front.mounted.spoken.doubt())
                .map_err(|trouble| Rejection::Upstream(trouble.failure(), rpc_id(&id)))?;
            let server = server_of(&link).ok_or(Rejection::UpstreamUnusable)?;
            if method == "server/discover" {
                let discovered = Message::result(&id, &server.discovered());
                return front.respond(session, &discovered, 200, None).await;
            }
            return self.subscribe(front, session, voice, link, &message).await;
        }
        let number = Id::number(self.requests.fetch_add(1, Ordering::Relaxed));
        let request = match caller.progress_token {
            Some(_) => to_sessions::with_progress_token(request, &number),
            None => request,
        }
        .with_id(&number);
        let link = Running::default();
        let running = Arc::clone(&link);
        let underway = Underway {
            answers: calling(behind.clone(), Arc::clone(&voice), request, running),
            link,
            behind,
            method,
            name: named(&message),
        };
        let answers = self.passing(underway, voice, id.clone(), caller, states);
        front.answer(session, answers, Some(&id), status_of).await
    }

    /// What of a call's messages is for the client, until it is answered or asked back.
    fn passing(
        &self,
        underway: Underway,
        voice: Arc<Voice>,
        id: Id,
        caller: Caller,
        states: StateTags,
    ) -> Answers {
        let parked = Arc::clone(&self.parked);
        Answers::of(move |out| pass_on(parked, underway, voice, id, caller, states, out))
    }

    /// Goes on with a call that waited for the client's answer.
    fn resumed(
        &self,
        parked: (Underway, Message),
        voice: Arc<Voice>,
        id: Id,
        caller: Caller,
        retry: Message,
        states: StateTags,
    ) -> Answers {
        let (underway, asked) = parked;
        let table = Arc::clone(&self.parked);
        Answers::of(move |out| async move {
            let Some(answer) = to_sessions::answer(&retry, &asked) else {
                // It answered nothing, so it is asked again.
                park(&table, underway, asked, &states, &id, &out).await;
                return;
            };
            let link = underway.link.lock().clone();
            let told = match link {
                Some(link) => link.tell(&voice, &answer).await,
                None => Err(Trouble::Lost),
            };
            match told {
                Ok(()) => pass_on(table, underway, voice, id, caller, states, out).await,
                Err(trouble) => {
                    let _ = out.send(failed(&id, &trouble.failure())).await;
                }
            }
        })
    }
}

/// The tool, prompt or resource that a call names.
pub(super) fn named(message: &Message) -> Option<String> {
    let params = message.params();
    params.text("name").or_else(|| params.text("uri"))
}

/// Calls over the session; where the backend has forgotten it, once more over a new one: a lost
/// session ran nothing.
fn calling(behind: Behind, voice: Arc<Voice>, request: Message, running: Running) -> Answers {
    Answers::of(move |out| async move {
        let id = request.id().unwrap_or_else(|| Id::number(0));
        let mut may_repeat = true;
        let trouble = loop {
            let link = match behind.link(&voice).await {
                Ok(link) => link,
                Err(trouble) => break trouble,
            };
            *running.lock() = Some(Arc::clone(&link));
            match link.call(&voice, request.clone(), out.clone()).await {
                Ok(()) => return,
                Err(Trouble::Lost) if may_repeat => {
                    may_repeat = false;
                    behind.lost(&link);
                }
                Err(trouble) => break trouble,
            }
        };
        let _ = out.send(failed(&id, &trouble.failure())).await;
    })
}

async fn pass_on(
    parked: Arc<Parked>,
    mut underway: Underway,
    voice: Arc<Voice>,
    id: Id,
    caller: Caller,
    states: StateTags,
    out: Outlet,
) {
    while let Some(message) = underway.answers.messages.recv().await {
        if message.kind() == Kind::Response {
            let server = underway.link.lock().as_deref().and_then(server_of);
            let response = match server {
                Some(server) => {
                    to_sessions::response(&id, &underway.method, &message, &server, &caller)
                }
                None => message.with_id(&id),
            };
            let _ = out.send(response).await;
            return;
        }
        match to_sessions::pass(message, &underway.method, &caller) {
            Passing::On(message) => {
                let message = match &caller.progress_token {
                    Some(token) if message.progressed().is_some() => progress(message, token),
                    _ => message,
                };
                if out.send(message).await.is_err() {
                    return;
                }
            }
            Passing::Dropped => {}
            Passing::Answered(answer) => {
                let link = underway.link.lock().clone();
                if let Some(link) = link {
                    let _ = link.tell(&voice, &answer).await;
                }
            }
            Passing::Asks(asked) => {
                park(&parked, underway, asked, &states, &id, &out).await;
                return;
            }
        }
    }
}

/// A progress notification under the client's own token.
fn progress(mut message: Message, token: &Id) -> Message {
    message.edit_params(|params| params.set(meta::PROGRESS_TOKEN, token));
    message
}

/// Keeps the call and asks the client.
async fn park(
    parked: &Arc<Parked>,
    underway: Underway,
    asked: Message,
    states: &StateTags,
    id: &Id,
    out: &Outlet,
) {
    let lifetime = underway.behind.lifetime.clone();
    let owner = underway.behind.key.owner.clone();
    let answer = match parked.keep(underway, asked.clone(), owner, lifetime) {
        Some(name) => {
            let state = states.bind(&name);
            Message::result(id, &to_sessions::input_required(&asked, &state))
        }
        None => {
            let error = RpcError::new(code::INTERNAL, "Too many calls wait for input");
            Message::error(Some(id), &error)
        }
    };
    let _ = out.send(answer).await;
}
