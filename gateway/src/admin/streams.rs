//! `streams`: the event streams that this process holds open. Other replicas are asked themselves.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::api::{About, Asked, Done};
use super::failure::Failure;
use super::grants::person;
use gateway_proxy::StreamView;

#[derive(Default)]
struct Of {
    user: Option<String>,
    client: Option<String>,
    grant: Option<String>,
}

impl Of {
    fn includes(&self, stream: &StreamView) -> bool {
        let is = |wanted: &Option<String>, it: &str| wanted.as_deref().is_none_or(|w| w == it);
        is(&self.user, stream.user.as_str())
            && is(&self.client, stream.client.as_str())
            && is(&self.grant, stream.grant.as_str())
    }
}

pub(super) async fn list(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let after = asked.one("after")?.unwrap_or("0");
    let after: u64 = after
        .parse()
        .map_err(|_| Failure::malformed("after is the number of a stream"))?;
    let limit = asked.limit()?;
    let user = match asked.one("user")? {
        Some(text) => Some(person(admin, text, asked).await?.as_str().to_owned()),
        None => None,
    };
    let of = Of {
        user,
        client: asked.one("client")?.map(str::to_owned),
        grant: asked.one("grant")?.map(str::to_owned),
    };
    let mut streams = admin.streams.list();
    streams.retain(|(number, stream)| *number > after && of.includes(stream));
    let more = streams.len() > limit;
    streams.truncate(limit);
    let next = streams.last().filter(|_| more);
    let next = next.map(|(number, _)| number.to_string());
    let streams: Vec<Value> = streams
        .iter()
        .map(|(number, stream)| shown(*number, stream))
        .collect();
    Ok(Done::read(json!({ "streams": streams, "next": next })))
}

/// One stream, or all of a grant, a client or a person.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum ToClose {
    Stream(u64),
    Grant(String),
    Client(String),
    User(String),
}

pub(super) async fn close(admin: &Admin, asked: &Asked) -> Result<Done, Failure> {
    let of = match asked.json()? {
        ToClose::Stream(number) => {
            let closed = admin.streams.close(number);
            let stream = closed.ok_or_else(|| Failure::unknown("stream", &number.to_string()))?;
            let about = About {
                user: Some(stream.user.as_str().to_owned()),
                client: Some(stream.client.as_str().to_owned()),
                grant: Some(stream.grant.as_str().to_owned()),
                what: number.to_string(),
                ..About::default()
            };
            return Ok(Done::new(json!({ "closed": 1 }), about));
        }
        ToClose::Grant(grant) => Of {
            grant: Some(grant),
            ..Of::default()
        },
        ToClose::Client(client) => Of {
            client: Some(client),
            ..Of::default()
        },
        ToClose::User(user) => Of {
            user: Some(person(admin, &user, asked).await?.as_str().to_owned()),
            ..Of::default()
        },
    };
    let mut closed = 0;
    for (number, stream) in admin.streams.list() {
        if of.includes(&stream) {
            closed += usize::from(admin.streams.close(number).is_some());
        }
    }
    let about = About {
        user: of.user,
        client: of.client,
        grant: of.grant,
        what: format!("({closed})"),
        ..About::default()
    };
    Ok(Done::new(json!({ "closed": closed }), about))
}

fn shown(number: u64, stream: &StreamView) -> Value {
    json!({
        "stream": number,
        "backend": stream.backend,
        "user": stream.user.as_str(),
        "user_name": stream.user_name,
        "client": stream.client.as_str(),
        "grant": stream.grant.as_str(),
        "since": stream.since.to_string(),
    })
}
