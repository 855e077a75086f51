//! The operator's API: JSON under `/v1/` of the admin listener, which the commands of the program
//! speak. Owns: the table of operations, the phases that all of them pass (who asks, the body, the
//! audit log). Not: what an operation does (`grants`, `clients`, `users`, `streams`, `tokens`).
//!
//! Reading is GET with a query, changing is POST with a JSON object. Lists are pages: `limit` at most
//! [`MOST`], `next` is what to ask for as `after`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use pingora::protocols::http::ServerSession;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::failure::Failure;
use super::{Admin, clients, grants, guard, streams, tokens, users};
use gateway_core::audit::{Event, Record};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::form::{Form, has_media_type};
use gateway_core::protocol::web::{self, Response};
use gateway_core::reason::Reason;
use gateway_oauth::identity::LoginName;

/// Entries in a page.
pub(super) const MOST: usize = 1000;
const USUAL: usize = 100;

/// No request of ours is larger: ids, a token, a password.
const LARGEST: usize = 64 * 1024;
const DRAINED: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// Says who types the command, as far as the command knows. A note for the log and no proof.
const OPERATOR: &str = "operator";

/// What an operation did.
#[derive(Debug)]
pub(super) struct Done {
    /// The answer.
    pub(super) body: Value,
    /// What it concerned, for the audit log.
    pub(super) about: About,
}

/// What an operation concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) user: Option<String>,
    pub(super) client: Option<String>,
    pub(super) grant: Option<String>,
    pub(super) token: Option<String>,
    /// In words, where the ids don't say it.
    pub(super) what: String,
}

impl Done {
    pub(super) fn new(body: Value, about: About) -> Self {
        Self { body, about }
    }

    /// Something was read.
    pub(super) fn read(body: Value) -> Self {
        Self::new(body, About::default())
    }
}

/// What is asked: the query of a GET, or the body of a POST.
pub(super) struct Asked {
    query: Form,
    body: Bytes,
    pub(super) now: Timestamp,
    peer: IpAddr,
    request_id: String,
}

impl Asked {
    pub(super) fn one(&self, name: &'static str) -> Result<Option<&str>, Failure> {
        Ok(self.query.one(name)?)
    }

    pub(super) fn required(&self, name: &'static str) -> Result<&str, Failure> {
        self.one(name)?
            .ok_or_else(|| Failure::malformed(format!("the parameter {name} is missing")))
    }

    pub(super) fn limit(&self) -> Result<usize, Failure> {
        let limit = self.one("limit")?.map(str::parse).transpose();
        match limit.map(|limit| limit.unwrap_or(USUAL)) {
            Ok(limit) if (1..=MOST).contains(&limit) => Ok(limit),
            _ => Err(Failure::malformed(format!(
                "limit is a number from 1 to {MOST}"
            ))),
        }
    }

    /// A record of what this request did, with where it came from.
    pub(super) fn asked_by(&self, record: Record) -> Record {
        record.asked_by(self.peer, &self.request_id)
    }

    /// The body. What is wrong with it is told without any of its values.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if self.body.trim_ascii_start().first() != Some(&b'{') {
            return Err(Failure::malformed("the body is no JSON object"));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let sentence = match error.is_data() {
                true => "the body has not the members that this operation takes",
                false => "the body is no JSON object",
            };
            Failure::malformed(sentence)
        })
    }
}

/// What an operation does to what people may do, which decides what an audit log means for it that
/// can't be written: nothing is given unless it is written down before what is about to be given, to
/// whom and by whom; but what is taken back is taken back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Reads,
    Gives,
    Takes,
}

/// An operation by its path: its name in the audit log, which is that of the command.
fn find(path: &str) -> Option<(&'static str, Effect)> {
    Some(match path {
        "/v1/grants" => ("grants ls", Effect::Reads),
        "/v1/grants/show" => ("grants show", Effect::Reads),
        "/v1/grants/revoke" => ("grants revoke", Effect::Takes),
        "/v1/clients" => ("clients ls", Effect::Reads),
        "/v1/clients/show" => ("clients show", Effect::Reads),
        "/v1/clients/remove" => ("clients rm", Effect::Takes),
        "/v1/users" => ("users ls", Effect::Reads),
        "/v1/users/add" => ("users add", Effect::Gives),
        "/v1/users/disable" => ("users disable", Effect::Takes),
        "/v1/users/enable" => ("users enable", Effect::Gives),
        "/v1/users/password" => ("users password", Effect::Gives),
        "/v1/streams" => ("streams ls", Effect::Reads),
        "/v1/streams/close" => ("streams close", Effect::Takes),
        "/v1/tokens/revoke" => ("token revoke", Effect::Takes),
        _ => return None,
    })
}

async fn run(admin: &Admin, name: &str, asked: &Asked) -> Result<Done, Failure> {
    match name {
        "grants ls" => grants::list(admin, asked).await,
        "grants show" => grants::show(admin, asked).await,
        "grants revoke" => grants::revoke(admin, asked).await,
        "clients ls" => clients::list(admin, asked).await,
        "clients show" => clients::show(admin, asked).await,
        "clients rm" => clients::remove(admin, asked).await,
        "users ls" => users::list(admin, asked).await,
        "users add" => users::add(admin, asked).await,
        "users disable" => users::disable(admin, asked).await,
        "users enable" => users::enable(admin, asked).await,
        "users password" => users::password(admin, asked).await,
        "streams ls" => streams::list(admin, asked).await,
        "streams close" => streams::close(admin, asked).await,
        "token revoke" => tokens::revoke(admin, asked).await,
        _ => Err(Reason::NotFound.into()),
    }
}

/// Answers a request under `/v1/`.
pub(super) async fn answer(admin: &Admin, session: &mut ServerSession) -> Response {
    // A body that was refused unread must not be taken for the next request.
    session.set_keepalive(None);
    let peer = peer(session);
    let request_id = format!("{:016x}", rand::random::<u64>());
    let headers = session.req_header().headers.clone();
    if let Err(reason) = guard::check(&headers, admin.token.as_ref()) {
        let failure = Failure::from(reason);
        log_refusal(&failure, "", peer, &request_id);
        let refused = Record::refused(Event::Operator, reason, false);
        let journal = &admin.server.journal;
        journal.append_anonymous(refused.asked_by(peer, &request_id));
        return failure.to_response();
    }
    let path = session.req_header().uri.path().to_owned();
    let Some((name, effect)) = find(&path) else {
        return Failure::from(Reason::NotFound).to_response();
    };
    let operator = operator(&headers);
    let by = |what: &str| match what {
        "" => format!("{name}, by {operator}"),
        what => format!("{name} {what}, by {operator}"),
    };
    let outcome = match asked(admin, session, effect, peer, &request_id).await {
        Ok(asked) => match announce(admin, effect, &asked, by).await {
            Ok(()) => run(admin, name, &asked).await,
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(done) => {
            let about = done.about;
            let detail = by(&about.what);
            log::info!(
                event = "operator", command = name, operator = operator, user = about.user.as_deref(),
                client = about.client.as_deref(), grant = about.grant.as_deref(),
                token = about.token.as_deref(), request_id = request_id.as_str(); "{detail}"
            );
            let record = Record {
                user: about.user,
                client: about.client,
                grant: about.grant,
                token: about.token.map(|id| id.chars().take(16).collect()),
                detail: Some(detail),
                ..Record::of(Event::Operator)
            };
            let record = record.asked_by(peer, &request_id);
            match enter(admin, effect, record).await {
                Ok(()) => web::json(http::StatusCode::OK, &done.body),
                Err(failure) => {
                    log_refusal(&failure, name, peer, &request_id);
                    failure.to_response()
                }
            }
        }
        Err(failure) => {
            log_refusal(&failure, name, peer, &request_id);
            let about = failure.concerned();
            let record = Record {
                detail: Some(by(&about.what)),
                user: about.user,
                client: about.client,
                grant: about.grant,
                token: about.token.map(|id| id.chars().take(16).collect()),
                ..Record::refused(Event::Operator, failure.reason, failure.is_fault())
            };
            // It was refused or failed already: a log that can't be written changes nothing.
            let _ = admin
                .server
                .journal
                .append(record.asked_by(peer, &request_id));
            failure.to_response()
        }
    }
}

/// Writes down what is about to be given. Durable when this returns, or it is not given.
async fn announce(
    admin: &Admin,
    effect: Effect,
    asked: &Asked,
    by: impl Fn(&str) -> String,
) -> Result<(), Failure> {
    if effect != Effect::Gives {
        return Ok(());
    }
    let about = users::meant(asked);
    let record = Record {
        detail: Some(format!("about to: {}", by(&about.what))),
        ..Record::of(Event::Operator)
    };
    let entered = admin
        .server
        .journal
        .append_durable(asked.asked_by(record))
        .await;
    entered.map_err(|error| Failure::from(error).about(&about))
}

async fn enter(admin: &Admin, effect: Effect, record: Record) -> Result<(), Failure> {
    let journal = &admin.server.journal;
    match effect {
        Effect::Reads => Ok(journal.append(record)?),
        Effect::Gives => journal.append_durable(record).await.map_err(|_| {
            let sentence =
                "it was done, but the audit log has only that it was about to be: the log can't be written";
            Failure::new(Reason::AuditUnavailable, sentence)
        }),
        Effect::Takes => {
            // Taking access back never waits for the log; its state is told elsewhere.
            let _ = journal.append_durable(record).await;
            Ok(())
        }
    }
}

async fn asked(
    admin: &Admin,
    session: &mut ServerSession,
    effect: Effect,
    peer: IpAddr,
    request_id: &str,
) -> Result<Asked, Failure> {
    let head = session.req_header();
    let wanted = match effect {
        Effect::Reads => Method::GET,
        Effect::Gives | Effect::Takes => Method::POST,
    };
    if head.method != wanted {
        return Err(Failure::new(
            Reason::MethodNotAllowed,
            format!("this is asked with {wanted}"),
        ));
    }
    let now = admin.server.clock.now();
    if wanted == Method::GET {
        let query = Form::parse(head.uri.query().unwrap_or_default().as_bytes())?;
        return Ok(Asked {
            query,
            body: Bytes::new(),
            now,
            peer,
            request_id: request_id.to_owned(),
        });
    }
    if !has_media_type(&head.headers, "application/json") {
        return Err(Failure::new(
            Reason::MediaTypeWrong,
            "the body must be application/json",
        ));
    }
    Ok(Asked {
        query: Form::default(),
        body: read(session).await?,
        now,
        peer,
        request_id: request_id.to_owned(),
    })
}

/// What is too large is read on for a while, so that its sender sees the answer.
async fn read(session: &mut ServerSession) -> Result<Bytes, Failure> {
    let reading = async {
        let mut body = BytesMut::new();
        let mut length = 0;
        while length <= DRAINED {
            match session.read_request_body().await {
                Ok(Some(chunk)) => {
                    length += chunk.len();
                    if length <= LARGEST {
                        body.extend_from_slice(&chunk);
                    }
                }
                Ok(None) if length <= LARGEST => return Ok(body.freeze()),
                Ok(None) => break,
                Err(error) => return Err(Failure::malformed(error.to_string())),
            }
        }
        Err(Reason::BodyTooLarge.into())
    };
    timeout(PATIENCE, reading)
        .await
        .unwrap_or_else(|_| Err(Reason::BodyTooSlow.into()))
}

fn operator(headers: &HeaderMap) -> String {
    let said = headers
        .get(OPERATOR)
        .and_then(|value| value.to_str().ok())
        .and_then(LoginName::parse);
    said.map_or_else(|| "somebody".to_owned(), |name| name.as_str().to_owned())
}

fn peer(session: &ServerSession) -> IpAddr {
    session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip())
}

fn log_refusal(failure: &Failure, command: &str, peer: IpAddr, request_id: &str) {
    log::warn!(
        event = "operator_refused", reason = failure.reason, hint = failure.reason.remedy(),
        command = command, peer:% = peer, request_id = request_id; "{}", failure.sentence
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str, body: &str) -> Asked {
        Asked {
            query: Form::parse(query.as_bytes()).unwrap(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            now: Timestamp::from_secs(1),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            request_id: "r".to_owned(),
        }
    }

    #[test]
    fn a_page_has_bounds() {
        assert_eq!(asked("", "").limit().unwrap(), USUAL);
        assert_eq!(asked("limit=1000", "").limit().unwrap(), MOST);
        for wrong in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=1&limit=2",
        ] {
            assert!(asked(wrong, "").limit().is_err(), "{wrong}");
        }
    }

    #[test]
    fn whom_a_request_means_is_known_before_it_is_looked_at_and_is_a_name_or_nothing() {
        let meant = |body: &str| users::meant(&asked("", body)).what;
        assert_eq!(meant("{\"name\":\"bob\",\"password\":\"hunter2\"}"), "bob");
        for body in [
            "",
            "[]",
            "{}",
            "{\"name\":7}",
            "{\"name\":\"bob\\n, by eve\"}",
        ] {
            assert_eq!(meant(body), "", "{body}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_body_is_told_without_its_values() {
        for body in [
            "{\"password\":\"hunter2 hunter2\"}",
            "hunter2",
            "[\"hunter2\"]",
        ] {
            let failure = asked("", body).json::<users::Named>().err().unwrap();
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
