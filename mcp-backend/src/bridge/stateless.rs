//! `/mcp` for 2026-07-28: no sessions, each request says all there is to know.
//!
//! A server that speaks this revision itself is passed to as it is; for one that speaks sessions,
//! `families` translates, and the process's answers, log messages and questions find the request that
//! they belong to.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use mcp_protocol::to_stateful::{self, Caller, Filter, Passing};
use mcp_protocol::{Id, Kind, Message, Object, RpcError, code, decode_value, meta};

use super::exchange::{Exchange, Heard, OnLeave};
use super::failure::Failure;
use super::http::Front;
use super::link::{Asking, Audience, Link};
use super::outbox::Outbox;
use super::reply::{self, Accepts};
use super::server::{Hello, Open, Server};
use super::subscribers::{Subscribers, Subscription};

/// A message of 2026-07-28.
pub async fn post(front: Front, headers: HeaderMap, message: Message) -> Response {
    let Some(id) = message.id() else {
        // The revision has no notifications from clients over HTTP.
        return StatusCode::ACCEPTED.into_response();
    };
    if message.kind() != Kind::Request {
        return StatusCode::BAD_REQUEST.into_response();
    }
    if let Err(why) = check_headers(&headers, &message) {
        let text = format!("Header mismatch: {why}");
        return reply::refuse(
            StatusCode::BAD_REQUEST,
            Some(&id),
            code::HEADER_MISMATCH,
            &text,
        );
    }
    let caller = match Caller::of(&message) {
        Ok(caller) => caller,
        Err(refused) => return reply::json(StatusCode::BAD_REQUEST, &refused.response(Some(&id))),
    };
    let owner = front.owner(&headers);
    let is_look = front.is_look(&owner, &caller);
    let server = match is_look {
        true => front.pool.lookout(),
        false => front.pool.of_caller(&owner, caller.clone()),
    };
    let accepts = Accepts::of(&headers);
    let answered = match server.open_beside().await {
        Ok(open) => answer(&front, &server, open, caller, message, accepts).await,
        Err(failure) => Err(failure),
    };
    answered.unwrap_or_else(|failure| {
        let answer = match is_look {
            true => failure.response_in_full(Some(&id)),
            false => failure.response(Some(&id)),
        };
        failed(&failure, &answer)
    })
}

fn failed(failure: &Failure, answer: &Message) -> Response {
    match failure {
        Failure::Full(..) => {
            let mut response = reply::json(StatusCode::SERVICE_UNAVAILABLE, answer);
            let soon = HeaderValue::from_static("5");
            response.headers_mut().insert(header::RETRY_AFTER, soon);
            response
        }
        _ => reply::json(status(answer), answer),
    }
}

/// The status that the revision demands for an answer.
fn status(answer: &Message) -> StatusCode {
    let status = answer.failure().map_or(200, |error| error.status(false));
    StatusCode::from_u16(status).unwrap_or(StatusCode::OK)
}

async fn answer(
    front: &Front,
    server: &Arc<Server>,
    open: Open,
    caller: Caller,
    message: Message,
    accepts: Accepts,
) -> Result<Response, Failure> {
    let id = message.id().unwrap_or_else(|| Id::number(0));
    let method = message.method().to_owned();
    let Hello::Sessions(_, said) = &*open.hello else {
        let asked = ask(server, &open.link, message, None).await?;
        return Ok(reply::respond(reply::heard(asked), accepts, status).await);
    };
    match method.as_str() {
        "server/discover" => {
            let answer = Message::result(&id, &said.discovered());
            return Ok(reply::json(StatusCode::OK, &answer));
        }
        "subscriptions/listen" => return Ok(listen(front, server, &open, said, &message, accepts)),
        _ => {}
    }
    let exchange = match to_stateful::request_state(&message) {
        Some(_) => match open.link.resume(&message, server.kit().silence) {
            Some(exchange) => exchange,
            None => {
                let error = RpcError::new(
                    code::INVALID_PARAMS,
                    "requestState is unknown here, or too old: start again without it",
                );
                return Ok(reply::json(
                    StatusCode::OK,
                    &Message::error(Some(&id), &error),
                ));
            }
        },
        None => {
            set_level(server, &open, said, &message).await?;
            match to_stateful::request(message) {
                Ok(request) => ask(server, &open.link, request, Some(caller.clone())).await?,
                Err(error) => {
                    let answer = Message::error(Some(&id), &error);
                    return Ok(reply::json(status(&answer), &answer));
                }
            }
        }
    };
    let hello = Arc::clone(&open.hello);
    let heard = reply::heard(exchange).filter_map(move |heard| {
        let translated = translate(heard, &id, &method, &hello, &caller);
        async move { translated }
    });
    Ok(reply::respond(heard.boxed(), accepts, status).await)
}

fn translate(heard: Heard, id: &Id, method: &str, hello: &Hello, caller: &Caller) -> Option<Heard> {
    let Hello::Sessions(_, said) = hello else {
        return Some(heard);
    };
    match heard {
        Heard::Notice(message) => match to_stateful::pass(message, method, caller) {
            Passing::On(message) => Some(Heard::Notice(message)),
            _ => None,
        },
        Heard::Answer(message) => Some(Heard::Answer(match is_question(&message) {
            true => message,
            false => to_stateful::response(id, method, &message, said, caller),
        })),
    }
}

/// Whether an answer is a question of ours, which is of the revision already.
fn is_question(answer: &Message) -> bool {
    answer
        .outcome()
        .and_then(|result| result.text("resultType"))
        .is_some_and(|kind| kind == "input_required")
}

async fn ask(
    server: &Server,
    link: &Arc<Link>,
    request: Message,
    caller: Option<Caller>,
) -> Result<Exchange, Failure> {
    let asking = Asking {
        owner: 0,
        on_leave: OnLeave::Cancel,
        caller,
        patience: server.kit().silence,
    };
    link.ask(request, asking).await
}

/// Log messages are asked for with each request now, and once for all of a process then.
async fn set_level(
    server: &Server,
    open: &Open,
    said: &to_stateful::Server,
    message: &Message,
) -> Result<(), Failure> {
    let is_one_caller = match server.audience() {
        Audience::Many(subscribers) => subscribers.is_one_caller(),
        Audience::One(_) => true,
    };
    let Some(level) = message.meta().text(meta::LOG_LEVEL) else {
        return Ok(());
    };
    if !is_one_caller || !said.capabilities.has("logging") || !open.level.change(&level) {
        return Ok(());
    }
    let params = Object::new().with("level", &level);
    let request = Message::request(&Id::number(0), "logging/setLevel", &params);
    let mut asked = ask(server, &open.link, request, None).await?;
    tokio::spawn(async move { asked.answer().await });
    Ok(())
}

/// `subscriptions/listen` in front of a server with sessions.
fn listen(
    front: &Front,
    server: &Arc<Server>,
    open: &Open,
    said: &to_stateful::Server,
    message: &Message,
    accepts: Accepts,
) -> Response {
    let (Some(id), Audience::Many(subscribers)) = (message.id(), server.audience()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if !accepts.events() {
        return StatusCode::NOT_ACCEPTABLE.into_response();
    }
    let granted = match Filter::of(message) {
        Ok(asked) => asked.granted(&said.capabilities),
        Err(error) => {
            let refusal = Message::error(Some(&id), &error);
            return reply::json(status(&refusal), &refusal);
        }
    };
    let outbox = Arc::new(Outbox::default());
    let messages = reply::received(outbox.open());
    let listening = Listening {
        updates: granted.updates.clone(),
        subscribers: Arc::clone(subscribers),
        link: Arc::clone(&open.link),
        subscription: Some(subscribers.add(granted.clone(), Some(id.clone()), outbox)),
    };
    for uri in &granted.updates {
        listening.tell("resources/subscribe", uri);
    }
    let acknowledged = to_stateful::acknowledged(&id, &granted);
    let ending = front.ending.clone();
    let messages = messages.map(move |message| {
        // Held here, the subscription lives exactly as long as the stream.
        let _ = &listening;
        reply::event(&message)
    });
    let ended = stream::once({
        let ending = ending.clone();
        async move {
            // A process that is gone ends the stream without a word: the client subscribes again.
            ending
                .is_cancelled()
                .then(|| reply::event(&to_stateful::ended(&id)))
        }
    });
    reply::events(
        stream::iter([reply::event(&acknowledged)])
            .chain(messages.take_until(ending.cancelled_owned()))
            .chain(ended.filter_map(|event| async move { event })),
    )
}

/// A subscription and what the process was told for its sake.
struct Listening {
    updates: Vec<String>,
    subscribers: Arc<Subscribers>,
    link: Arc<Link>,
    subscription: Option<Subscription>,
}

impl Listening {
    fn tell(&self, method: &str, uri: &str) {
        let params = Object::new().with("uri", uri);
        self.link.ask_unheard(method, &params);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.subscription = None;
        for uri in &self.updates {
            if !self.subscribers.want_updates_of(uri) {
                self.tell("resources/unsubscribe", uri);
            }
        }
    }
}

/// The headers that mirror the body must be there and say the same (Server Validation).
fn check_headers(headers: &HeaderMap, message: &Message) -> Result<(), String> {
    let method = message.method().to_owned();
    let params = message.params();
    let name = match method.as_str() {
        "tools/call" | "prompts/get" => params.text("name"),
        "resources/read" => params.text("uri"),
        _ => None,
    };
    let version = message.meta().text(meta::VERSION);
    for (header, value, is_encoded) in [
        ("mcp-protocol-version", version, false),
        ("mcp-method", Some(method), false),
        ("mcp-name", name, true),
    ] {
        let mut given = headers.get_all(header).iter();
        let Some(value) = value else { continue };
        let Some(first) = given.next() else {
            return Err(format!("{header} is missing"));
        };
        if given.next().is_some() {
            return Err(format!("{header} stands twice"));
        }
        let decoded = match (std::str::from_utf8(first.as_bytes()).ok(), is_encoded) {
            (Some(text), true) => decode_value(text),
            (Some(text), false) => Some(text.into()),
            (None, _) => None,
        };
        if decoded.as_deref() != Some(&*value) {
            return Err(format!("{header} differs from the body"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"sea é","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;

    fn check(lines: &[(&'static str, &'static str)]) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check_headers(&headers, &Message::parse(CALL).unwrap())
    }

    #[test]
    fn headers_say_what_the_body_says() {
        let version = ("mcp-protocol-version", "2026-07-28");
        let method = ("mcp-method", "tools/call");
        let name = ("mcp-name", "=?base64?c2VhIMOp?=");
        assert_eq!(check(&[version, method, name]), Ok(()));
        for wrong in [
            &[method, name][..],
            &[version, name],
            &[version, method],
            &[version, method, name, name],
            &[("mcp-protocol-version", "2025-11-25"), method, name],
            &[version, ("mcp-method", "Tools/Call"), name],
            &[version, method, ("mcp-name", "sea")],
            &[version, method, ("mcp-name", "=?base64?!?=")],
        ] {
            assert!(check(wrong).is_err(), "{wrong:?}");
        }
    }
}
