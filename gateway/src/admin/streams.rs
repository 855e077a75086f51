//! `streams`: the event streams that this process holds open. Other replicas are asked themselves.

use super::failure::Failure;
use super::lookup;
use super::outcome::{Done, Subject};
use super::request::Request;
use crate::operator_api::{
    CloseStreams, ClosedCount, ListStreams, StreamEntry, StreamPage, StreamsToClose,
};
use gateway_oauth::AuthorizationServer;
use gateway_proxy::{StreamView, Streams};

/// Which streams; where nothing is said, all.
#[derive(Default)]
struct Filter {
    user: Option<String>,
    client: Option<String>,
    grant: Option<String>,
}

impl Filter {
    fn includes(&self, stream: &StreamView) -> bool {
        let is = |wanted: &Option<String>, it: &str| wanted.as_deref().is_none_or(|w| w == it);
        is(&self.user, stream.user.as_str())
            && is(&self.client, stream.client.as_str())
            && is(&self.grant, stream.grant.as_str())
    }
}

pub(super) async fn list(
    server: &AuthorizationServer,
    streams: &Streams,
    request: &Request,
) -> Result<Done, Failure> {
    let query = request.query::<ListStreams>()?;
    let after = query.after.as_deref().unwrap_or("0");
    let after: u64 = after
        .parse()
        .map_err(|_| Failure::malformed("after is the number of a stream"))?;
    let filter = Filter {
        user: match &query.user {
            Some(text) => Some(user_id(server, text, request).await?),
            None => None,
        },
        client: query.client,
        grant: query.grant,
    };
    let limit = query.limit.get();
    let mut streams = streams.list();
    streams.retain(|(number, stream)| *number > after && filter.includes(stream));
    let more = streams.len() > limit;
    streams.truncate(limit);
    let next = streams.last().filter(|_| more);
    Ok(Done::read::<ListStreams>(&StreamPage {
        next: next.map(|(number, _)| number.to_string()),
        streams: streams
            .iter()
            .map(|(number, stream)| entry(*number, stream))
            .collect(),
    }))
}

pub(super) async fn close(
    server: &AuthorizationServer,
    streams: &Streams,
    request: &Request,
) -> Result<Done, Failure> {
    let filter = match request.body::<CloseStreams>()? {
        StreamsToClose::Stream(number) => return close_one(streams, number),
        StreamsToClose::Grant(grant) => Filter {
            grant: Some(grant),
            ..Filter::default()
        },
        StreamsToClose::Client(client) => Filter {
            client: Some(client),
            ..Filter::default()
        },
        StreamsToClose::User(user) => Filter {
            user: Some(user_id(server, &user, request).await?),
            ..Filter::default()
        },
    };
    let mut closed = 0;
    for (number, stream) in streams.list() {
        if filter.includes(&stream) {
            closed += usize::from(streams.close(number).is_some());
        }
    }
    let subject = Subject {
        user: filter.user,
        client: filter.client,
        grant: filter.grant,
        what: format!("({closed})"),
        ..Subject::default()
    };
    Ok(Done::new::<CloseStreams>(&ClosedCount { closed }, subject))
}

fn close_one(streams: &Streams, number: u64) -> Result<Done, Failure> {
    let closed = streams.close(number);
    let stream = closed.ok_or_else(|| Failure::unknown("stream", &number.to_string()))?;
    let subject = Subject {
        user: Some(stream.user.as_str().to_owned()),
        client: Some(stream.client.as_str().to_owned()),
        grant: Some(stream.grant.as_str().to_owned()),
        what: number.to_string(),
        ..Subject::default()
    };
    Ok(Done::new::<CloseStreams>(
        &ClosedCount { closed: 1 },
        subject,
    ))
}

async fn user_id(
    server: &AuthorizationServer,
    text: &str,
    request: &Request,
) -> Result<String, Failure> {
    let id = lookup::user_id(server, text, request.now).await?;
    Ok(id.as_str().to_owned())
}

fn entry(number: u64, stream: &StreamView) -> StreamEntry {
    StreamEntry {
        stream: number,
        backend: stream.backend.to_string(),
        user: stream.user.as_str().to_owned(),
        user_name: stream.user_name.to_string(),
        client: stream.client.as_str().to_owned(),
        grant: stream.grant.as_str().to_owned(),
        since: stream.since.to_string(),
    }
}
