//! Exchanges of several rounds about a resource (2026-07-28, Multi Round-Trip Requests): what a member asks
//! back leads to that member again, whoever lists the resource by then.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use mcp_protocol::{Kind, Message, Object, RpcError, code, media_type};
use pingora::protocols::http::ServerSession;

use super::Asked;
use super::listen::begin;
use super::local_request::respond;
use super::route::pass_on;
use crate::client_watch::ClientWatch;
use crate::holder::Holder;
use crate::response_writer::event;
use crate::sessions::StateTags;
use gateway_upstream::Connection;

/// A result that asks back is no larger than this, in bytes: what is larger is passed on as it comes.
const LARGEST_QUESTION: usize = 256 * 1024;

/// What the states of members begin with.
const STATE: &str = "member ";

const REQUEST_STATE: &str = "requestState";

/// Whether a member asks back in place of an answer.
pub(super) fn is_question(result: &Object) -> bool {
    result.text("resultType").as_deref() == Some("input_required")
}

/// The state that leads to a member: its name, and the state that it gave, if it gave one.
fn written(member: &str, own: Option<&str>) -> String {
    let own = own.map(|own| format!("={}", URL_SAFE_NO_PAD.encode(own)));
    format!("{STATE}{member}{}", own.unwrap_or_default())
}

fn read(state: &str) -> Option<(&str, Option<String>)> {
    let named = state.strip_prefix(STATE)?;
    let Some((member, own)) = named.split_once('=') else {
        return Some((named, None));
    };
    let own = URL_SAFE_NO_PAD.decode(own).ok()?;
    Some((member, Some(String::from_utf8(own).ok()?)))
}

impl Asked {
    /// What a member asks back, with the way to it.
    pub(super) fn led_back(&self, member: usize, mut result: Object) -> Object {
        let own = result.text(REQUEST_STATE);
        let name = &self.members().names()[member];
        let state = self.states().bind(&written(name, own.as_deref()));
        result.set(REQUEST_STATE, &state);
        result
    }

    /// The member that asked for what this request answers, and what it gets; `None` if it answers nothing.
    pub(super) fn answered(&self) -> Option<Result<(usize, Message), RpcError>> {
        let params = self.message.params();
        if !params.has(REQUEST_STATE) && !params.has("inputResponses") {
            return None;
        }
        let presented = params.text(REQUEST_STATE).unwrap_or_default();
        let state = self.states().unbind(&presented);
        let found = state.as_deref().and_then(read);
        let found = found.and_then(|(name, own)| Some((self.members().position(name)?, own)));
        Some(match found {
            Some((member, own)) => {
                let mut message = self.message.clone();
                message.edit_params(|params| match &own {
                    Some(own) => params.set(REQUEST_STATE, own),
                    None => drop(params.remove(REQUEST_STATE)),
                });
                Ok((member, message))
            }
            None => {
                let sentence = "requestState is none that was given for a resource here";
                Err(RpcError::new(code::INVALID_PARAMS, sentence))
            }
        })
    }

    fn states(&self) -> StateTags {
        let mount = &self.mounted.backend.mount;
        let holder = Holder::new(&self.caller.token, mount);
        StateTags::new(&self.service.state.sessions, holder)
    }

    /// Passes on what a member answers who is asked for a resource.
    pub(super) async fn pass_resource(
        &self,
        session: &mut ServerSession,
        mut watch: ClientWatch,
        mut connection: Connection,
        member: usize,
    ) -> pingora::Result<()> {
        let Ok(head) = connection.read_head().await else {
            return Ok(());
        };
        if head.status != StatusCode::OK {
            return pass_on(session, watch, connection, Bytes::new()).await;
        }
        if media_type::is_event_stream(&head.headers) {
            return self.pass_events(session, watch, connection, member).await;
        }
        let mut read = BytesMut::new();
        loop {
            let chunk = tokio::select! {
                biased;
                () = watch.gone(session) => return Ok(()),
                chunk = connection.read_body() => chunk,
            };
            match chunk {
                Ok(Some(chunk)) => read.extend_from_slice(&chunk),
                Ok(None) => break,
                // Broken off here as it was there.
                Err(_) => return Ok(()),
            }
            if read.len() > LARGEST_QUESTION {
                return pass_on(session, watch, connection, read.freeze()).await;
            }
        }
        let read = read.freeze();
        match self.asks(member, &read) {
            Some(question) => respond(session, StatusCode::OK, Some(&question)).await,
            None => pass_on(session, watch, connection, read).await,
        }
    }

    /// What a member asks back, if a text is that.
    fn asks(&self, member: usize, text: &Bytes) -> Option<Message> {
        let message = Message::from_bytes(text.clone()).ok()?;
        let result = message.outcome().filter(is_question)?;
        Some(Message::result(&self.id, &self.led_back(member, result)))
    }

    async fn pass_events(
        &self,
        session: &mut ServerSession,
        mut watch: ClientWatch,
        connection: Connection,
        member: usize,
    ) -> pingora::Result<()> {
        let mut reader = self.reader(connection, true);
        begin(session).await?;
        loop {
            let message = tokio::select! {
                biased;
                () = watch.gone(session) => return Ok(()),
                message = reader.next() => message,
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) => return Ok(()),
            };
            let is_last = message.kind() == Kind::Response;
            let question = self.asks(member, message.text()).filter(|_| is_last);
            let message = question.unwrap_or(message);
            session.write_response_body(event(&message), false).await?;
            if is_last {
                break;
            }
        }
        // Its end is nobody's to wait for, but the client has not gone before it.
        reader.close().await;
        session.write_response_body(Bytes::new(), true).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_leads_to_its_member_with_what_that_gave() {
        for own in [None, Some(""), Some("s=1~é")] {
            let state = written("no-tes.1", own);
            let (member, given) = read(&state).unwrap();
            assert_eq!((member, given.as_deref()), ("no-tes.1", own), "{state}");
        }
        for foreign in ["", "notes", "member notes=%", "Member notes"] {
            assert_eq!(read(foreign), None, "{foreign}");
        }
    }
}
