//! A request of the operator's: its query or its body, read within bounds, and where it came from.

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use pingora::protocols::http::ServerSession;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::form_urlencoded;

use super::failure::Failure;
use crate::operator_api::{Effect, Endpoint, Query, QueryError};
use gateway_core::audit::Record;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::form::{Form, has_media_type};
use gateway_core::reason::Reason;

/// No request of ours is larger: ids, a token, a password.
const LARGEST: usize = 64 * 1024;
const DRAINED: usize = 4 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a request came from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) peer: IpAddr,
    pub(super) request_id: String,
}

impl Origin {
    /// A record of what this request did.
    pub(super) fn record(&self, record: Record) -> Record {
        record.asked_by(self.peer, &self.request_id)
    }
}

/// What is asked: the query of a GET, or the body of a POST.
pub(super) struct Request {
    query: Form,
    body: Bytes,
    pub(super) now: Timestamp,
    pub(super) origin: Origin,
}

impl Request {
    /// Reads it from the connection. `now`: the time that it is answered for.
    pub(super) async fn read(
        session: &mut ServerSession,
        effect: Effect,
        now: Timestamp,
        origin: Origin,
    ) -> Result<Self, Failure> {
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
        let (query, body) = if wanted == Method::GET {
            let query = form(head.uri.query().unwrap_or_default())?;
            (query, Bytes::new())
        } else if has_media_type(&head.headers, "application/json") {
            (Form::default(), read_body(session).await?)
        } else {
            return Err(Failure::new(
                Reason::MediaTypeWrong,
                "the body must be application/json",
            ));
        };
        Ok(Self {
            query,
            body,
            now,
            origin,
        })
    }

    /// A question of a page's.
    pub(super) fn asking(
        asked: &impl Query,
        now: Timestamp,
        origin: Origin,
    ) -> Result<Self, Failure> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(asked.parameters());
        Ok(Self {
            query: form(&query.finish())?,
            body: Bytes::new(),
            now,
            origin,
        })
    }

    /// A change of a page's.
    pub(super) fn changing(body: &impl Serialize, now: Timestamp, origin: Origin) -> Self {
        // Only maps with keys that are no strings fail to serialise; no request of ours has one.
        let body = serde_json::to_vec(body).expect("the operator's own requests serialise");
        Self {
            query: Form::default(),
            body: body.into(),
            now,
            origin,
        }
    }

    /// The parameters of a question.
    pub(super) fn query<E: Endpoint<Request: Query>>(&self) -> Result<E::Request, Failure> {
        Ok(E::Request::read(&self.query)?)
    }

    /// The body of a change.
    pub(super) fn body<E: Endpoint<Request: DeserializeOwned>>(
        &self,
    ) -> Result<E::Request, Failure> {
        self.json()
    }

    /// The body. What is wrong with it is told without any of its values.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if self.body.trim_ascii_start().first() != Some(&b'{') {
            return Err(Failure::malformed("the body is no JSON object"));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            let sentence = if error.is_data() {
                "the body has not the members that this operation takes"
            } else {
                "the body is no JSON object"
            };
            Failure::malformed(sentence)
        })
    }
}

fn form(query: &str) -> Result<Form, QueryError> {
    Ok(Form::parse(query.as_bytes())?)
}

/// What is too large is read on for a while, so that its sender sees the answer.
async fn read_body(session: &mut ServerSession) -> Result<Bytes, Failure> {
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

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::operator_api::EnableUser;

    /// A POST of this body.
    pub(in super::super) fn posted(body: &str) -> Request {
        Request {
            query: Form::default(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            now: Timestamp::from_secs(1),
            origin: Origin {
                peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
                request_id: "r".to_owned(),
            },
        }
    }

    #[test]
    fn what_is_wrong_with_a_body_is_told_without_its_values() {
        for body in [
            "{\"password\":\"hunter2 hunter2\"}",
            "hunter2",
            "[\"hunter2\"]",
        ] {
            let failure = posted(body).body::<EnableUser>().err().unwrap();
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
