//! What the members say unasked, on one stream: each is listened to for as long as the client listens, and
//! again when it comes back. That it went, and that it is back, is told as a change of its lists: so nothing
//! is lost that changed while nobody listened to it.

use std::mem::{replace, take};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderValue, StatusCode};
use mcp_protocol::members::Whose;
use mcp_protocol::to_stateful::{self, Filter};
use mcp_protocol::{Kind, Message, Object, RpcError, code};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Asked;
use super::member::Reply;
use crate::client_watch::ClientWatch;
use crate::response_writer::event;

/// The pause before a member is listened to again: it doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The pause where a member has nothing to say: it may have, once it is another.
const REFUSED_PAUSE: Duration = Duration::from_secs(600);

/// A stream of a member that ended sooner was none.
const LASTED: Duration = Duration::from_secs(30);

/// So long the acknowledgement waits for what the members grant.
const PATIENCE: Duration = Duration::from_secs(2);

/// So many messages wait for the client.
const WAITING: usize = 32;

/// So many are kept until the acknowledgement is sent.
const EARLY: usize = 64;

/// A notification is no larger than this, in bytes: those that wait are not counted among what is held for
/// the client.
const LARGEST_SAID: usize = 256 * 1024;

/// The method of what the first message of a subscription is.
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// How listening to a member ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// It listened, and its stream ended.
    Ended,
    /// It has nothing to say of this.
    Nothing,
    /// It does not answer, or not now.
    Away,
}

/// What is known of a member that is listened to, and what it says.
enum Told {
    /// It listens, and grants this.
    Listens(Filter),
    /// It does not listen, for now.
    IsSilent,
    /// It listens no more.
    Went,
    /// It says this.
    Said(Box<Message>),
}

impl Asked {
    /// Answers with a stream of what the members say, until the client goes.
    pub(super) async fn listen(
        self: &Arc<Self>,
        session: &mut ServerSession,
    ) -> pingora::Result<()> {
        let mut asked = match Filter::from_message(&self.message) {
            Ok(asked) => asked,
            Err(error) => return self.refuse(session, &error.into()).await,
        };
        let mut watch = ClientWatch::default();
        let filters = tokio::select! {
            biased;
            () = watch.gone(session) => return Ok(()),
            filters = self.filters(&asked) => filters,
        };
        let (out, mut heard) = mpsc::channel(WAITING);
        let mut following = JoinSet::new();
        // What nobody is asked for is granted by nobody: whoever asks for it again may find its member back.
        asked.updates.clear();
        for (member, filter) in filters.into_iter().enumerate() {
            if self.leaves(member) && !filter.is_empty() {
                asked.updates.extend(filter.updates.iter().cloned());
                following.spawn(Arc::clone(self).follow(member, filter, out.clone()));
            }
        }
        let begun = tokio::select! {
            biased;
            () = watch.gone(session) => return Ok(()),
            begun = Begun::of(&asked, following.len(), &mut heard) => begun,
        };
        begin(session).await?;
        let acknowledged = to_stateful::acknowledged(&self.id, &begun.granted);
        let mut ready = vec![acknowledged];
        ready.extend(begun.early);
        loop {
            for message in take(&mut ready) {
                session.write_response_body(event(&message), false).await?;
            }
            let told = tokio::select! {
                biased;
                () = watch.gone(session) => return Ok(()),
                told = heard.recv() => told,
            };
            match told {
                Some(Told::Said(message)) => ready.push(*message),
                // What it listed may have changed since it was heard last.
                Some(Told::Listens(_) | Told::Went) => ready = self.changed(&asked),
                Some(Told::IsSilent) => {}
                None => return Ok(()),
            }
        }
    }

    /// What each member is listened to for: its own resources, and what changes of any.
    async fn filters(self: &Arc<Self>, asked: &Filter) -> Vec<Filter> {
        let nothing = Filter {
            updates: Vec::new(),
            ..asked.clone()
        };
        let mut filters = vec![nothing; self.members().names().len()];
        if asked.updates.is_empty() {
            return filters;
        }
        let uris: Vec<&str> = asked.updates.iter().map(String::as_str).collect();
        let whose = self.whose_each(&uris).await;
        for (uri, whose) in asked.updates.iter().zip(whose) {
            if let Whose::One(member) = whose {
                filters[member].updates.push(uri.clone());
            }
        }
        filters
    }

    /// Listens to one member for as long as the client does.
    async fn follow(self: Arc<Self>, member: usize, mut filter: Filter, out: mpsc::Sender<Told>) {
        let (mut pause, mut is_away) = (FIRST_PAUSE, false);
        loop {
            let listen = self.listening(&filter);
            let begun = Instant::now();
            let heard = match self.ask_among_all(member, &listen).await {
                Ok(reply) => self.hear(member, reply, &out).await,
                Err(_) => Heard::Away,
            };
            let is_refused = heard == Heard::Nothing && filter.updates.is_empty();
            let next = match heard {
                Heard::Ended => {
                    is_away = false;
                    None
                }
                // Not all that it was asked for may be of its kind.
                Heard::Nothing if !filter.updates.is_empty() => {
                    filter.updates.clear();
                    filter.is_empty().then_some(Told::IsSilent)
                }
                Heard::Nothing => Some(Told::IsSilent),
                Heard::Away if is_away => None,
                Heard::Away => {
                    is_away = true;
                    Some(Told::Went)
                }
            };
            if let Some(told) = next
                && out.send(told).await.is_err()
            {
                return;
            }
            if heard == Heard::Ended && begun.elapsed() >= LASTED {
                pause = FIRST_PAUSE;
            }
            if filter.is_empty() {
                return;
            }
            let waiting = if is_refused { REFUSED_PAUSE } else { pause };
            tokio::select! {
                () = out.closed() => return,
                () = sleep(waiting) => {}
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Passes on what a member says, until its stream ends.
    async fn hear(&self, member: usize, mut reply: Reply, out: &mpsc::Sender<Told>) -> Heard {
        let (mut heard, mut has_dropped) = (unheard(reply.status), false);
        while let Ok(Some(message)) = reply.reader.next().await {
            let told = match message.kind() {
                Kind::Notification if message.method() == ACKNOWLEDGED => {
                    heard = Heard::Ended;
                    self.note(member, self.message.method(), None);
                    // More than was asked for is asked for at most.
                    let granted = Filter::from_message(&message);
                    Told::Listens(granted.unwrap_or_default())
                }
                Kind::Notification if message.text().len() > LARGEST_SAID => {
                    // Told once a stream, however much is said on it.
                    if !replace(&mut has_dropped, true) {
                        self.log_dropped(member, &message);
                    }
                    continue;
                }
                Kind::Notification => Told::Said(Box::new(message)),
                Kind::Request => continue,
                Kind::Response => {
                    let is_internal = |error: RpcError| error.code() == code::INTERNAL;
                    if heard == Heard::Nothing && message.failure().is_some_and(is_internal) {
                        heard = Heard::Away;
                    }
                    break;
                }
            };
            if out.send(told).await.is_err() {
                return Heard::Ended;
            }
            if !reply.reader.is_stream() {
                break;
            }
        }
        heard
    }

    fn log_dropped(&self, member: usize, message: &Message) {
        let (name, bytes) = (&self.members().names()[member], message.text().len());
        log::warn!(
            event = "notification_dropped", backend = self.name(), member = name.as_str(), bytes, hint = "What a server says unasked is passed on up to 256 KiB.";
            "a notification of a member is larger than what is passed on"
        );
    }

    /// Says that the lists are others now: a member went, or is back.
    fn changed(&self, asked: &Filter) -> Vec<Message> {
        let lists = [
            (asked.tools, "notifications/tools/list_changed"),
            (asked.prompts, "notifications/prompts/list_changed"),
            (asked.resources, "notifications/resources/list_changed"),
        ];
        let wanted = lists.into_iter().filter(|(is_wanted, _)| *is_wanted);
        let changed = |(_, method)| {
            let changed = Message::notification(method, &Object::new());
            to_stateful::subscribed(changed, &self.id)
        };
        wanted.map(changed).collect()
    }

    /// The client's request with what one member is to say.
    fn listening(&self, filter: &Filter) -> Message {
        let mut message = self.message.clone();
        message.edit_params(|params| params.set("notifications", &filter.object()));
        message
    }
}

/// How listening ended, if the member never says that it listens.
const fn unheard(status: u16) -> Heard {
    match status {
        // Of limits others than what is asked for.
        429 | 500.. => Heard::Away,
        _ => Heard::Nothing,
    }
}

/// What is known when the client is told that it listens.
struct Begun {
    granted: Filter,
    /// What was said before.
    early: Vec<Message>,
}

impl Begun {
    /// Waits for what `count` members grant, for a short time: who is later has nothing lost, since its lists
    /// count as changed then. So what they may grant is granted.
    async fn of(asked: &Filter, count: usize, heard: &mut mpsc::Receiver<Told>) -> Self {
        let mut granted = Filter::default();
        let mut early = Vec::new();
        let mut outstanding = count;
        let end = sleep(PATIENCE);
        tokio::pin!(end);
        while outstanding > 0 && early.len() < EARLY {
            let told = tokio::select! {
                () = &mut end => break,
                told = heard.recv() => told,
            };
            match told {
                Some(Told::Listens(filter)) => {
                    outstanding -= 1;
                    granted = united(granted, filter);
                }
                Some(Told::IsSilent) => outstanding -= 1,
                // It may be back: then its lists change.
                Some(Told::Went) => {
                    outstanding -= 1;
                    granted = united(granted, asked.clone());
                }
                Some(Told::Said(message)) => early.push(*message),
                None => break,
            }
        }
        if outstanding > 0 {
            granted = asked.clone();
        }
        let granted = within(granted, asked);
        Self { granted, early }
    }
}

/// What one of two grants.
fn united(one: Filter, mut other: Filter) -> Filter {
    let mut updates = one.updates;
    other.updates.retain(|uri| !updates.contains(uri));
    updates.extend(other.updates);
    Filter {
        tools: one.tools || other.tools,
        prompts: one.prompts || other.prompts,
        resources: one.resources || other.resources,
        updates,
    }
}

/// What of it was asked for.
fn within(granted: Filter, asked: &Filter) -> Filter {
    let mut updates = granted.updates;
    updates.retain(|uri| asked.updates.contains(uri));
    Filter {
        tools: granted.tools && asked.tools,
        prompts: granted.prompts && asked.prompts,
        resources: granted.resources && asked.resources,
        updates,
    }
}

pub(super) async fn begin(session: &mut ServerSession) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(StatusCode::OK, Some(2))?;
    let events = HeaderValue::from_static("text/event-stream");
    head.insert_header(CONTENT_TYPE, events)?;
    let chunked = HeaderValue::from_static("chunked");
    head.insert_header(TRANSFER_ENCODING, chunked)?;
    session.write_response_header(Box::new(head)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(tools: bool, prompts: bool, updates: &[&str]) -> Filter {
        Filter {
            tools,
            prompts,
            resources: false,
            updates: updates.iter().map(|uri| (*uri).to_owned()).collect(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_acknowledged_is_what_members_grant_or_may_still_grant() {
        let asked = filter(true, true, &["a:1", "b:1"]);
        let (out, mut heard) = mpsc::channel(8);
        let said = Message::notification("notifications/tools/list_changed", &Object::new());
        out.send(Told::Listens(filter(true, false, &["a:1"])))
            .await
            .unwrap();
        out.send(Told::Said(Box::new(said))).await.unwrap();
        out.send(Told::IsSilent).await.unwrap();
        let begun = Begun::of(&asked, 2, &mut heard).await;
        let granted = &begun.granted;
        assert!(granted.tools && !granted.prompts);
        assert_eq!(granted.updates, ["a:1"]);
        assert_eq!(begun.early.len(), 1);

        // Nobody waits longer for one that says nothing.
        out.send(Told::Listens(filter(true, false, &["a:1"])))
            .await
            .unwrap();
        let begun = Begun::of(&asked, 2, &mut heard).await;
        assert!(begun.granted.prompts && begun.granted.updates.len() == 2);
        // Nobody gets what was not asked for.
        out.send(Told::Listens(filter(true, true, &["c:1"])))
            .await
            .unwrap();
        let begun = Begun::of(&filter(true, false, &[]), 1, &mut heard).await;
        assert!(!begun.granted.prompts && begun.granted.updates.is_empty());
    }

    #[test]
    fn a_limit_and_a_fault_end_sooner_than_a_refusal() {
        assert_eq!(unheard(429), Heard::Away);
        assert_eq!(unheard(503), Heard::Away);
        assert_eq!(unheard(404), Heard::Nothing);
        assert_eq!(unheard(200), Heard::Nothing);
    }
}
