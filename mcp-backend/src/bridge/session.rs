//! A session of the revisions until 2025-11-25: what its client sends, and where that goes.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use mcp_protocol::to_stateful::Filter;
use mcp_protocol::{
    Id, Kind, Message, Object, RpcError, Subscriptions, code, is_stateful_revision,
};

use crate::bridge::connection::exchange::{Exchange, OnLeave};
use crate::bridge::connection::outbox::Outbox;
use crate::bridge::connection::subscribers::Subscription;
use crate::bridge::connection::{Asking, Audience};
use crate::bridge::failure::{Failure, REMEDY};
use crate::bridge::pool::handshake::{HandshakeResult, Opening};
use crate::bridge::pool::process_slots::Owner;
use crate::bridge::pool::server::{Open, StdioServer};
use crate::bridge::pool::{Pool, Sharing};

/// A client's session from its `initialize` on, with the server behind it.
#[derive(Debug)]
pub struct Session {
    /// Its name, which only its client knows.
    pub id: String,
    /// For whom it was opened.
    pub owner: Owner,
    /// The way to its client outside of answers.
    pub outbox: Arc<Outbox>,
    /// Its server, from `initialize` on.
    pub server: OnceLock<Arc<StdioServer>>,
    number: u64,
    used: Mutex<Instant>,
    subscription: OnceLock<Subscription>,
    subscribed: Mutex<Subscriptions>,
}

/// What becomes of a message of the client.
#[derive(Debug)]
pub enum MessageOutcome {
    /// The process is asked, and answers.
    Forwarded(Exchange),
    /// The bridge answers by itself.
    Answered(Message),
    /// There is nothing to answer.
    Accepted,
}

impl Session {
    /// A session without a server yet; `number` tells it from others within one process.
    pub fn new(id: String, owner: Owner, number: u64) -> Self {
        Self {
            id,
            owner,
            outbox: Arc::default(),
            server: OnceLock::new(),
            number,
            used: Mutex::new(Instant::now()),
            subscription: OnceLock::new(),
            subscribed: Mutex::default(),
        }
    }

    /// When it was used last.
    pub fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Ends it, and its process if that is its own.
    pub fn end(&self) {
        self.outbox.close();
        if let Some(server) = self.server.get()
            && matches!(server.audience(), Audience::Session(_))
        {
            server.retire();
        }
    }

    /// Begins with the client's `initialize`: the result of the server. `is_look`: the client is the
    /// gateway itself, which wants to know what the server offers.
    ///
    /// # Errors
    /// There is no server for it.
    pub async fn begin(
        &self,
        pool: &Pool,
        initialize: &Message,
        is_look: bool,
    ) -> Result<Object, Failure> {
        let (server, open) = self.serve(pool, initialize, is_look).await?;
        let result = match (&*open.hello, server.audience()) {
            (HandshakeResult::Sessions(result, said), Audience::Shared(subscribers)) => {
                let filter = Filter::everything(&said.capabilities, Vec::new());
                let subscription = subscribers.add(filter, Arc::clone(&self.outbox));
                let _ = self.subscription.set(subscription);
                shared_result(result.clone(), initialize)
            }
            (HandshakeResult::Sessions(result, _), _) => result.clone(),
            (HandshakeResult::Stateless(_), _) => {
                return Err(Failure::Refused(no_sessions(initialize)));
            }
        };
        let _ = self.server.set(server);
        Ok(result)
    }

    /// The server that is to serve it, and its process.
    async fn serve(
        &self,
        pool: &Pool,
        initialize: &Message,
        is_look: bool,
    ) -> Result<(Arc<StdioServer>, Open), Failure> {
        let is_shared = pool.sharing() == Sharing::Shared;
        if is_shared || is_look {
            let server = pool.lookout();
            match server.open_beside().await {
                // It refuses the bridge. It may know who looks.
                Err(Failure::Refused(_)) if !is_shared => {}
                opened => return Ok((server, opened?)),
            }
        }
        let opening = Opening::OfClient(initialize.clone());
        let audience = Audience::Session(Arc::clone(&self.outbox));
        let server = pool.server(opening, audience, self.owner.clone());
        let open = server.open().await?;
        Ok((server, open))
    }

    /// Handles a message of the client, in a session that has begun.
    pub async fn handle(&self, message: Message) -> MessageOutcome {
        self.touch();
        let Some(server) = self.server.get() else {
            return MessageOutcome::Accepted;
        };
        let id = message.id();
        let outcome = match server.audience() {
            Audience::Session(_) => self.pass(server, message).await,
            _ => self.pass_to_shared(server, message).await,
        };
        match (outcome, id) {
            (Ok(outcome), _) => outcome,
            (Err(failure), Some(id)) => MessageOutcome::Answered(failure.response(&id)),
            (Err(_), None) => MessageOutcome::Accepted,
        }
    }

    /// The process is this session's own: everything goes to it.
    async fn pass(
        &self,
        server: &Arc<StdioServer>,
        message: Message,
    ) -> Result<MessageOutcome, Failure> {
        if message.kind() == Kind::Request {
            let open = server.open().await?;
            if let Err(error) = server.remember(&message) {
                return refused(message.id(), &error);
            }
            return self.ask(server, &open, message).await;
        }
        // A process that has ended is not started for the sake of an answer to its question.
        let Some(open) = server.running() else {
            return Ok(MessageOutcome::Accepted);
        };
        match message.kind() {
            Kind::Response => drop(open.connection.answer(message).await),
            _ if message.method() == "notifications/cancelled" => {
                open.connection.cancel(self.number, message).await;
            }
            _ => open.connection.write(&message).await?,
        }
        Ok(MessageOutcome::Accepted)
    }

    /// The process is several sessions': what would change it for the others stays here.
    async fn pass_to_shared(
        &self,
        server: &Arc<StdioServer>,
        message: Message,
    ) -> Result<MessageOutcome, Failure> {
        let (method, id) = (message.method().to_owned(), message.id());
        let answered = |id: Option<Id>, result: &Object| {
            let id = id.unwrap_or_else(|| Id::number(0));
            Ok(MessageOutcome::Answered(Message::result(&id, result)))
        };
        let done = |id| answered(id, &Object::new());
        let uri = message.params().text("uri").unwrap_or_default();
        match (message.kind(), method.as_str()) {
            (Kind::Response, _)
            | (_, "notifications/initialized" | "notifications/roots/list_changed") => {
                return Ok(MessageOutcome::Accepted);
            }
            (_, "notifications/cancelled") => {
                if let Some(open) = server.running() {
                    open.connection.cancel(self.number, message).await;
                }
                return Ok(MessageOutcome::Accepted);
            }
            (Kind::Notification, _) => {
                if let Some(open) = server.running() {
                    open.connection.write(&message).await?;
                }
                return Ok(MessageOutcome::Accepted);
            }
            // What a process logs names no session, so it is told to none.
            (_, "logging/setLevel") => {
                let error = RpcError::new(code::METHOD_NOT_FOUND, "Method not found");
                return refused(id, &error);
            }
            (_, "initialize") => {
                let open = server.open_beside().await?;
                let HandshakeResult::Sessions(result, _) = &*open.hello else {
                    return done(id);
                };
                return answered(id, &shared_result(result.clone(), &message));
            }
            (_, "resources/subscribe") => {
                if let Err(error) = self.edit_updates(|subscribed| subscribed.add(&uri).map(drop)) {
                    return refused(id, &error);
                }
            }
            (_, "resources/unsubscribe") => {
                let _ = self.edit_updates(|subscribed| {
                    subscribed.remove(&uri);
                    Ok(())
                });
                let Audience::Shared(subscribers) = server.audience() else {
                    return done(id);
                };
                if subscribers.want_updates_of(&uri) {
                    return done(id);
                }
            }
            _ => {}
        }
        let open = server.open_beside().await?;
        self.ask(server, &open, message).await
    }

    fn edit_updates(
        &self,
        change: impl FnOnce(&mut Subscriptions) -> Result<(), RpcError>,
    ) -> Result<(), RpcError> {
        let mut subscribed = self
            .subscribed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut subscribed)?;
        if let Some(subscription) = self.subscription.get() {
            subscription.edit_updates(|updates| *updates = subscribed.uris().to_vec());
        }
        Ok(())
    }

    async fn ask(
        &self,
        server: &StdioServer,
        open: &Open,
        message: Message,
    ) -> Result<MessageOutcome, Failure> {
        let asking = Asking {
            owner: self.number,
            on_leave: OnLeave::Forget,
            patience: server.config().silence,
        };
        let exchange = open.connection.ask(message, asking).await?;
        Ok(MessageOutcome::Forwarded(exchange))
    }
}

fn refused(id: Option<Id>, error: &RpcError) -> Result<MessageOutcome, Failure> {
    Ok(MessageOutcome::Answered(Message::error(id.as_ref(), error)))
}

/// The result of `initialize` for one of several sessions of a process.
fn shared_result(mut result: Object, asked: &Message) -> Object {
    // The handshake was ours, and of the newest revision; an older one is a part of it.
    if let Some(version) = asked.params().text("protocolVersion")
        && is_stateful_revision(&version)
        && result
            .text("protocolVersion")
            .is_some_and(|own| own > version)
    {
        result.set("protocolVersion", &version);
    }
    result.edit("capabilities", |capabilities| {
        capabilities.remove("logging");
    });
    if !result.has("capabilities") {
        result.set("capabilities", &Object::new());
    }
    result
}

/// What a server without sessions says to `initialize` (2026-07-28, Versioning).
pub(crate) fn no_sessions(initialize: &Message) -> RpcError {
    let requested = initialize.params().text("protocolVersion");
    not_in_sessions(&requested.unwrap_or_default())
}

/// The same, where this version was asked for.
pub(crate) fn not_in_sessions(requested: &str) -> RpcError {
    let spoken = RpcError::unsupported_version(requested);
    let sentence = format!("{}: the server has no sessions; {REMEDY}", spoken.message());
    RpcError::new(spoken.code(), &sentence).with_data(&spoken.data().unwrap_or_default())
}
