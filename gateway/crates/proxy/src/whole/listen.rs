//! What the members say unasked, on one stream: each is listened to for as long as the client listens, and
//! again when it comes back. That it went, and that it is back, is told as a change of its lists.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode};
use mcp_protocol::to_stateful::{self, Filter};
use mcp_protocol::{Kind, Message, Object};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Asked;
use super::member::Reply;
use crate::client_watch::ClientWatch;

/// The pause before a member is listened to again: it doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// So many messages wait for the client.
const WAITING: usize = 32;

/// The method of what the first message of a subscription is.
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// How listening to a member ended.
enum Heard {
    /// It listened, and its stream ended.
    Ended,
    /// It has nothing to say of this.
    Nothing,
    /// It does not answer.
    Away,
}

impl Asked {
    /// Answers with a stream of what the members say, until the client goes.
    pub(super) async fn listen(
        self: &Arc<Self>,
        session: &mut ServerSession,
    ) -> pingora::Result<()> {
        let asked = match Filter::from_message(&self.message) {
            Ok(asked) => asked,
            Err(error) => return self.refuse(session, &error).await,
        };
        let mut watch = ClientWatch::default();
        let filters = tokio::select! {
            biased;
            () = watch.gone(session) => return Ok(()),
            filters = self.filters(&asked) => filters,
        };
        let granted = Filter {
            updates: filters.iter().flat_map(|one| one.updates.clone()).collect(),
            ..asked
        };
        begin(session).await?;
        let acknowledged = to_stateful::acknowledged(&self.id, &granted);
        session
            .write_response_body(event(&acknowledged), false)
            .await?;
        let (out, mut heard) = mpsc::channel(WAITING);
        let mut following = JoinSet::new();
        for (member, filter) in filters.into_iter().enumerate() {
            if self.leaves(member) && !filter.is_empty() {
                following.spawn(Arc::clone(self).follow(member, filter, out.clone()));
            }
        }
        loop {
            let message = tokio::select! {
                biased;
                () = watch.gone(session) => return Ok(()),
                message = heard.recv() => message,
            };
            let Some(message) = message else { break };
            session.write_response_body(event(&message), false).await?;
        }
        Ok(())
    }

    /// What each member is listened to for: its own resources, and what changes of any.
    async fn filters(self: &Arc<Self>, asked: &Filter) -> Vec<Filter> {
        let nothing = Filter {
            updates: Vec::new(),
            ..asked.clone()
        };
        let mut filters = vec![nothing; self.members().names().len()];
        for uri in &asked.updates {
            if let Some(member) = self.member_of(uri).await {
                filters[member].updates.push(uri.clone());
            }
        }
        filters
    }

    /// Listens to one member for as long as the client does.
    async fn follow(
        self: Arc<Self>,
        member: usize,
        mut filter: Filter,
        out: mpsc::Sender<Message>,
    ) {
        let (mut pause, mut is_away) = (FIRST_PAUSE, false);
        loop {
            let listen = self.listening(&filter);
            let heard = match self.ask(member, &listen).await {
                Ok(reply) => self.hear(member, reply, &filter, &out, &mut is_away).await,
                Err(_) => Heard::Away,
            };
            match heard {
                Heard::Ended => pause = FIRST_PAUSE,
                Heard::Nothing if !filter.updates.is_empty() => filter.updates.clear(),
                // It may have more to say once it is another.
                Heard::Nothing => pause = LAST_PAUSE,
                Heard::Away => {
                    if !is_away {
                        is_away = true;
                        self.tell_changed(&filter, &out).await;
                    }
                }
            }
            if out.is_closed() {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Passes on what a member says, until its stream ends.
    async fn hear(
        &self,
        member: usize,
        mut reply: Reply,
        filter: &Filter,
        out: &mpsc::Sender<Message>,
        is_away: &mut bool,
    ) -> Heard {
        let mut heard = if reply.status >= 500 {
            Heard::Away
        } else {
            Heard::Nothing
        };
        while let Ok(Some(message)) = reply.reader.next().await {
            match message.kind() {
                Kind::Notification if message.method() == ACKNOWLEDGED => {
                    heard = Heard::Ended;
                    self.note(member, None);
                    if std::mem::take(is_away) {
                        self.tell_changed(filter, out).await;
                    }
                }
                Kind::Notification => {
                    if out.send(message).await.is_err() {
                        return Heard::Ended;
                    }
                }
                Kind::Request => {}
                Kind::Response => break,
            }
            if !reply.reader.is_stream() {
                break;
            }
        }
        heard
    }

    /// Says that the lists are others now: a member went, or is back.
    async fn tell_changed(&self, filter: &Filter, out: &mpsc::Sender<Message>) {
        let lists = [
            (filter.tools, "notifications/tools/list_changed"),
            (filter.prompts, "notifications/prompts/list_changed"),
            (filter.resources, "notifications/resources/list_changed"),
        ];
        for (_, method) in lists.into_iter().filter(|(is_wanted, _)| *is_wanted) {
            let changed = Message::notification(method, &Object::new());
            let changed = to_stateful::subscribed(changed, &self.id);
            if out.send(changed).await.is_err() {
                return;
            }
        }
    }

    /// The client's request with what one member is to say.
    fn listening(&self, filter: &Filter) -> Message {
        let mut message = self.message.clone();
        message.edit_params(|params| params.set("notifications", &filter.object()));
        message
    }
}

async fn begin(session: &mut ServerSession) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(StatusCode::OK, Some(2))?;
    let events = HeaderValue::from_static("text/event-stream");
    head.insert_header(CONTENT_TYPE, events)?;
    let chunked = HeaderValue::from_static("chunked");
    head.insert_header(TRANSFER_ENCODING, chunked)?;
    session.write_response_header(Box::new(head)).await
}

fn event(message: &Message) -> Bytes {
    Bytes::from(format!("event: message\ndata: {message}\n\n"))
}
