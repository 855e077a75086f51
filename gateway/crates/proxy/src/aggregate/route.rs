//! What is for one member goes to it, and its answer comes back as it is.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use mcp_protocol::members::Whose;
use mcp_protocol::{Message, Object, RpcError, code};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use super::compact::OwnCall;
use super::lists::Said;
use super::rounds::is_question;
use super::{Asked, Fault, Unanswered};
use crate::account_doubt;
use crate::client_watch::ClientWatch;
use gateway_upstream::Connection;

/// Whose a request is.
enum Destination {
    /// This member's, in these words.
    One(usize, Box<Message>),
    /// A resource that nobody lists: they are asked in turn, until one knows.
    Any,
    /// It is a search among the tools of all.
    Search,
    /// Nobody's.
    Nobody(RpcError),
    /// Nobody knows now whose it is.
    Unsure,
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
                    Ok(connection) if message.method() == "resources/read" => {
                        self.pass_resource(session, watch, connection, member).await
                    }
                    Ok(connection) => pass_on(session, watch, connection, Bytes::new()).await,
                    // The walk at a member always answers, so it is the walk that failed.
                    Err(_) => self.refuse(session, &Unanswered::Nobody).await,
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
            Destination::Nobody(error) => self.refuse(session, &error.into()).await,
            Destination::Unsure => self.refuse(session, &Unanswered::Nobody).await,
        }
    }

    async fn destination(self: &Arc<Self>) -> Destination {
        let params = self.message.params();
        if params.has("task") {
            return Destination::Nobody(no_tasks(code::INVALID_PARAMS));
        }
        match self.message.method() {
            "tools/call" => match self.own_call() {
                None => self.named(&self.message, "Unknown tool"),
                Some(OwnCall::Search) => Destination::Search,
                Some(OwnCall::Call(call)) => self.named(&call, "Unknown tool"),
                Some(OwnCall::Wrong(error)) => Destination::Nobody(error),
            },
            "prompts/get" => self.named(&self.message, "Unknown prompt"),
            "resources/read" => match self.answered() {
                Some(Ok((member, message))) => Destination::One(member, Box::new(message)),
                Some(Err(error)) => Destination::Nobody(error),
                None => {
                    self.of_resource(&params.text("uri").unwrap_or_default())
                        .await
                }
            },
            "completion/complete" => {
                let reference = params.object("ref").unwrap_or_default();
                match reference.text("uri") {
                    Some(uri) => self.of_resource(&uri).await,
                    None => self.completed(&reference),
                }
            }
            method if method.starts_with("tasks/") => {
                Destination::Nobody(no_tasks(code::METHOD_NOT_FOUND))
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
        match self.whose(uri).await {
            Whose::One(member) => Destination::One(member, Box::new(self.message.clone())),
            Whose::Several => nobody(
                "Tools of several servers name this as theirs; it can be read at the address of each",
                uri,
            ),
            Whose::Undecidable => nobody(
                "A server has too many tools to say whose this is; it can be read at its own address",
                uri,
            ),
            Whose::Unknown => Destination::Any,
            Whose::Unsure => Destination::Unsure,
        }
    }

    /// Asks the members in turn, until one has another answer than an error. One that asks back may not know
    /// the resource at all: it counts where no other answers. The first that takes longer than a list may is
    /// waited for then, for as long as it takes.
    async fn in_turn(self: Arc<Self>) -> Result<Message, Unanswered> {
        let (mut tried, mut late) = (Tried::default(), None);
        for member in 0..self.members().names().len() {
            if !self.leaves(member) || !self.is_connected(member).await {
                continue;
            }
            let mut answer = Box::pin(self.kept_answer_of(member));
            match timeout(self.aggregate.list_timeout, &mut answer).await {
                Ok(said) => {
                    if let Some(result) = tried.take(member, said) {
                        return Ok(Message::result(&self.id, &result));
                    }
                }
                Err(_) if late.is_some() => tried.is_unanswered = true,
                Err(_) => late = Some((member, answer)),
            }
        }
        if let Some((member, answer)) = late.filter(|_| tried.question.is_none())
            && let Some(result) = tried.take(member, answer.await)
        {
            return Ok(Message::result(&self.id, &result));
        }
        let (member, result) = tried.question()?;
        Ok(Message::result(&self.id, &self.led_back(member, result)))
    }

    /// What a member says to this request, held until this is answered.
    async fn kept_answer_of(&self, member: usize) -> Said {
        let (said, hold) = self.answer_of(member, &self.message).await;
        self.held.lock().extend(hold);
        said
    }

    /// Whether the person can use a member at all: one that wants an account of theirs first would lead them
    /// to connect it for a resource that is another's.
    async fn is_connected(&self, member: usize) -> bool {
        let Some(mounted) = self.mounted_member(member) else {
            return false;
        };
        let claims = self.caller.token.claims();
        let account = account_doubt::account_of(&self.service.state, &mounted, claims);
        account.await.is_ok()
    }
}

/// What is known of a resource that nobody lists, while the members are asked for it.
#[derive(Default)]
struct Tried {
    /// The first that asked back, and what.
    question: Option<(usize, Object)>,
    /// What it is refused with.
    refused: Option<RpcError>,
    /// One has no answer now, and may have the resource.
    is_unanswered: bool,
    /// What the first of those said.
    fault: Option<Fault>,
}

impl Tried {
    /// Takes in what a member says; the answer, if it is one. A limit is like any other fault: it may be of
    /// this member alone.
    fn take(&mut self, member: usize, said: Said) -> Option<Object> {
        match said {
            Said::Result(result, _) if is_question(&result) => {
                self.question.get_or_insert((member, result));
            }
            Said::Result(result, _) => return Some(result),
            Said::Refused(error) => self.refuse(error),
            // It was reached, and this is what it says of this resource.
            Said::Fault(Some(fault)) if fault.status.is_success() => self.refuse(fault.error),
            Said::Fault(fault) => {
                self.is_unanswered = true;
                self.fault = self.fault.take().or(fault);
            }
            Said::Away(..) => self.is_unanswered = true,
        }
        None
    }

    /// That a server has no resources, or trouble with one, says less than that it has not this one.
    fn refuse(&mut self, error: RpcError) {
        let says_little =
            |known: &RpcError| [code::METHOD_NOT_FOUND, code::INTERNAL].contains(&known.code());
        if self.refused.as_ref().is_none_or(says_little) {
            self.refused = Some(error);
        }
    }

    /// What one asks back where no other answers. That one has no answer now outranks that others have not
    /// got it.
    fn question(self) -> Result<(usize, Object), Unanswered> {
        match (self.question, self.refused) {
            (Some(question), _) => Ok(question),
            (None, _) if self.is_unanswered => Err(self.fault.into()),
            (None, Some(error)) => Err(error.into()),
            (None, None) => Err(RpcError::new(code::INVALID_PARAMS, "Nobody has it").into()),
        }
    }
}

/// Tasks live longer than the call that began them, and their ids name no member.
fn no_tasks(code: i64) -> RpcError {
    let sentence =
        "Several servers together offer no tasks: call without, or the server at its own address";
    RpcError::new(code, sentence)
}

fn nobody(unknown: &str, name: &str) -> Destination {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
    let error = RpcError::new(code::INVALID_PARAMS, &format!("{unknown}: {shown}"));
    Destination::Nobody(error)
}

/// Passes an answer on, byte for byte; of its body `read` was read already.
pub(super) async fn pass_on(
    session: &mut ServerSession,
    mut watch: ClientWatch,
    mut connection: Connection,
    read: Bytes,
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
    if !read.is_empty() {
        session.write_response_body(read, false).await?;
    }
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

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::aggregates::Absence;

    fn refused(code: i64, words: &str) -> Said {
        Said::Refused(RpcError::new(code, words))
    }

    fn fault(status: StatusCode, words: &str) -> Said {
        Said::Fault(Some(Fault {
            status,
            retry_after: None,
            error: RpcError::new(code::INTERNAL, words),
        }))
    }

    fn outcome(all: Vec<Said>) -> String {
        let mut tried = Tried::default();
        for (member, said) in all.into_iter().enumerate() {
            if tried.take(member, said).is_some() {
                return format!("result of {member}");
            }
        }
        match tried.question() {
            Ok((member, _)) => format!("question of {member}"),
            Err(why) => words(why),
        }
    }

    fn words(why: Unanswered) -> String {
        match why {
            Unanswered::Error(error) => error.message(),
            Unanswered::Fault(fault) => format!("{} {}", fault.status, fault.error.message()),
            Unanswered::Nobody => "nobody".to_owned(),
        }
    }

    #[test]
    fn of_several_answers_about_a_resource_the_one_that_says_most_counts() {
        let result = |text: &str| Said::Result(Object::parse(text).unwrap(), 0);
        let question = || result(r#"{"resultType":"input_required"}"#);
        let away = || Said::Away(Absence::Unreachable, String::new());
        let no_method = || refused(code::METHOD_NOT_FOUND, "no method");
        let not_here = || refused(code::INVALID_PARAMS, "not here");
        let full = || fault(StatusCode::SERVICE_UNAVAILABLE, "full");
        let trouble = || fault(StatusCode::OK, "trouble");
        let too_much = || fault(StatusCode::TOO_MANY_REQUESTS, "too much");
        for (all, expected) in [
            (vec![], "Nobody has it"),
            (vec![not_here(), question(), result("{}")], "result of 2"),
            (vec![question(), away(), not_here()], "question of 0"),
            (vec![no_method(), not_here(), no_method()], "not here"),
            (vec![trouble(), not_here()], "not here"),
            (vec![no_method(), trouble()], "trouble"),
            (vec![not_here(), away()], "nobody"),
            (
                vec![not_here(), away(), full()],
                "503 Service Unavailable full",
            ),
            (vec![too_much(), not_here(), result("{}")], "result of 2"),
            (vec![too_much(), question(), not_here()], "question of 1"),
            (
                vec![not_here(), too_much(), full()],
                "429 Too Many Requests too much",
            ),
        ] {
            assert_eq!(outcome(all), expected);
        }
    }
}
