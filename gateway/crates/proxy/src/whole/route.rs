//! What is for one member goes to it, and its answer comes back as it is.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use mcp_protocol::{Message, Object, RpcError, code};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;

use super::Asked;
use super::compact::OwnCall;
use crate::client_watch::ClientWatch;
use crate::holder::Holder;
use gateway_upstream::{Connection, Failure};

/// Whose a request is.
enum Destination {
    /// This member's, in these words.
    One(usize, Box<Message>),
    /// It may be any one's: they are asked in turn, until one knows.
    Any,
    /// It is a search among the tools of all.
    Search,
    /// Nobody's.
    Nobody(RpcError),
}

impl Asked {
    /// Answers with the answer of the member that a request is for.
    pub(super) async fn route(
        self: &Arc<Self>,
        session: &mut ServerSession,
    ) -> pingora::Result<()> {
        let mut watch = ClientWatch::default();
        let destination = tokio::select! {
            biased;
            () = watch.gone(session) => return Ok(()),
            destination = self.destination() => destination,
        };
        match destination {
            Destination::One(member, message) => {
                let reached = tokio::select! {
                    biased;
                    () = watch.gone(session) => return Ok(()),
                    reached = self.reach(member, &message) => reached,
                };
                match reached {
                    Ok(connection) => pass_on(session, watch, connection).await,
                    Err(failure) => self.refuse(session, &failed(&failure)).await,
                }
            }
            Destination::Any => {
                let work = Arc::clone(self).in_turn();
                self.when_done(session, work).await
            }
            Destination::Search => {
                let work = Arc::clone(self).search();
                self.when_done(session, work).await
            }
            Destination::Nobody(error) => self.refuse(session, &error).await,
        }
    }

    async fn destination(self: &Arc<Self>) -> Destination {
        let params = self.message.params();
        let text = |name: &str| params.text(name).unwrap_or_default();
        match self.message.method() {
            "tools/call" => match self.own_call() {
                None => self.named(&self.message, "Unknown tool"),
                Some(OwnCall::Search) => Destination::Search,
                Some(OwnCall::Call(call)) => self.named(&call, "Unknown tool"),
                Some(OwnCall::Wrong(error)) => Destination::Nobody(error),
            },
            "prompts/get" => self.named(&self.message, "Unknown prompt"),
            "resources/read" => self.of_resource(&text("uri")).await,
            "completion/complete" => {
                let reference = params.object("ref").unwrap_or_default();
                match reference.text("uri") {
                    Some(uri) => self.of_resource(&uri).await,
                    None => self.completed(&reference),
                }
            }
            "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => {
                self.of_task(&text("taskId"))
            }
            method => {
                let sentence =
                    format!("There is no method {method:?} for several servers together");
                let error = RpcError::new(code::METHOD_NOT_FOUND, &sentence);
                Destination::Nobody(error)
            }
        }
    }

    /// A tool or prompt goes to the member whose name it begins with.
    fn named(&self, message: &Message, unknown: &str) -> Destination {
        let shown = message.params().text("name").unwrap_or_default();
        let Some((member, own)) = self.members().find(&shown) else {
            return nobody(unknown, &shown);
        };
        let mut message = message.clone();
        message.edit_params(|params| params.set("name", own));
        Destination::One(member, Box::new(message))
    }

    /// So does what completes an argument of a prompt.
    fn completed(&self, reference: &Object) -> Destination {
        let shown = reference.text("name").unwrap_or_default();
        let Some((member, own)) = self.members().find(&shown) else {
            return nobody("Unknown prompt", &shown);
        };
        let mut message = self.message.clone();
        message.edit_params(|params| params.edit("ref", |reference| reference.set("name", own)));
        Destination::One(member, Box::new(message))
    }

    async fn of_resource(self: &Arc<Self>, uri: &str) -> Destination {
        match self.member_of(uri).await {
            Some(member) => Destination::One(member, Box::new(self.message.clone())),
            None => Destination::Any,
        }
    }

    /// A task goes by the name that the client of a limited token got for it; any other may be any one's.
    fn of_task(&self, id: &str) -> Destination {
        let sessions = &self.service.state.sessions;
        let mut members = 0..self.members().names().len();
        let found = members.find(|member| {
            let mounted = self.mounted_member(*member);
            mounted.is_some_and(|mounted| {
                let holder = Holder::new(&self.caller.token, &mounted.backend.mount);
                sessions.unbind_task(id, holder).is_some()
            })
        });
        match found {
            Some(member) => Destination::One(member, Box::new(self.message.clone())),
            None => Destination::Any,
        }
    }

    /// Asks the members in turn, until one has another answer than an error.
    async fn in_turn(self: Arc<Self>) -> Result<Message, RpcError> {
        let mut last = None;
        for member in 0..self.members().names().len() {
            if !self.leaves(member) {
                continue;
            }
            let answered = match self.ask(member, &self.message).await {
                Ok(reply) => reply.response().await,
                Err(failure) => Err(failure),
            };
            match answered {
                Ok(response) => match response.failure() {
                    None => return Ok(response),
                    Some(error) => last = Some(error),
                },
                Err(failure) => {
                    last.get_or_insert_with(|| failed(&failure));
                }
            }
        }
        Err(last.unwrap_or_else(|| RpcError::new(code::INVALID_PARAMS, "Nobody has it")))
    }
}

fn nobody(unknown: &str, name: &str) -> Destination {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    let error = RpcError::new(code::INVALID_PARAMS, &format!("{unknown}: {shown}"));
    Destination::Nobody(error)
}

/// The member's answer never came. What failed is in the log of that exchange.
fn failed(_failure: &Failure) -> RpcError {
    RpcError::new(code::INTERNAL, "The backend did not answer as it should")
}

/// Passes an answer on, byte for byte.
async fn pass_on(
    session: &mut ServerSession,
    mut watch: ClientWatch,
    mut connection: Connection,
) -> pingora::Result<()> {
    let Ok(head) = connection.read_head().await else {
        return Ok(());
    };
    let mut passed = ResponseHeader::build_no_case(head.status, Some(head.headers.len() + 1))?;
    for (name, value) in &head.headers {
        if *name != CONNECTION && *name != TRANSFER_ENCODING {
            passed.append_header(name.clone(), value.clone())?;
        }
    }
    let is_bodiless = gateway_lane::is_bodiless(head.status);
    if !is_bodiless && !passed.headers.contains_key(CONTENT_LENGTH) {
        let chunked = HeaderValue::from_static("chunked");
        passed.insert_header(TRANSFER_ENCODING, chunked)?;
    }
    session.write_response_header(Box::new(passed)).await?;
    loop {
        let read = tokio::select! {
            biased;
            () = watch.gone(session) => return Ok(()),
            read = connection.read_body() => read,
        };
        match read {
            Ok(Some(chunk)) => session.write_response_body(chunk, false).await?,
            Ok(None) => break,
            // Broken off here as it was there.
            Err(_) => return Ok(()),
        }
    }
    session.write_response_body(Bytes::new(), true).await
}
