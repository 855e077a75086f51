//! `streams`: the event streams that are held open, here and by other replicas on the same store.

use super::failure::Failure;
use super::lookup;
use super::outcome::{Done, Subject};
use super::peers::{Filter, PeerStreams};
use super::request::Request;
use crate::operator_api::{
    CloseStreams, ClosedCount, ListStreams, StreamEntry, StreamPage, StreamsToClose,
};
use gateway_core::clock::Clock;
use gateway_oauth::Settings;
use gateway_store::Records;

pub(super) async fn list(
    settings: &Settings,
    records: &Records,
    clock: Clock,
    streams: &PeerStreams,
    request: &Request,
) -> Result<Done, Failure> {
    let query = request.query::<ListStreams>()?;
    let after = query.page.after.as_deref().unwrap_or("0");
    let after: u64 = after
        .parse()
        .map_err(|_| Failure::malformed("after is the number of a stream"))?;
    let filter = Filter {
        number: None,
        user: match &query.user {
            Some(text) => Some(user_id(settings, records, text, request).await?),
            None => None,
        },
        client: query.client,
        grant: query.grant,
    };
    let limit = query.page.limit.get();
    let elsewhere = streams.do_elsewhere(false, &filter, clock).await?;
    let here = streams.do_here(false, &filter);
    let all = elsewhere.into_iter().chain([here]);
    let mut listed: Vec<StreamEntry> = all.flat_map(|answer| answer.streams).collect();
    listed.sort_by_key(|stream| stream.stream);
    listed.retain(|stream| stream.stream > after);
    let more = listed.len() > limit;
    listed.truncate(limit);
    let next = listed.last().filter(|_| more);
    Ok(Done::read::<ListStreams>(&StreamPage {
        next: next.map(|stream| stream.stream.to_string()),
        streams: listed,
    }))
}

pub(super) async fn close(
    settings: &Settings,
    records: &Records,
    clock: Clock,
    streams: &PeerStreams,
    request: &Request,
) -> Result<Done, Failure> {
    let filter = match request.body::<CloseStreams>()? {
        StreamsToClose::Stream(number) => return close_one(clock, streams, number).await,
        StreamsToClose::Grant(grant) => Filter {
            grant: Some(grant),
            ..Filter::default()
        },
        StreamsToClose::Client(client) => Filter {
            client: Some(client),
            ..Filter::default()
        },
        StreamsToClose::User(user) => Filter {
            user: Some(user_id(settings, records, &user, request).await?),
            ..Filter::default()
        },
    };
    // Those of this process are closed whatever the store does.
    let here = streams.do_here(true, &filter);
    let elsewhere = streams.do_elsewhere(true, &filter, clock).await?;
    let elsewhere: usize = elsewhere.iter().map(|answer| answer.count).sum();
    let closed = here.count + elsewhere;
    let subject = Subject {
        user: filter.user,
        client: filter.client,
        grant: filter.grant,
        what: format!("({closed})"),
        ..Subject::default()
    };
    Ok(Done::new::<CloseStreams>(&ClosedCount { closed }, subject))
}

async fn close_one(clock: Clock, streams: &PeerStreams, number: u64) -> Result<Done, Failure> {
    let filter = Filter {
        number: Some(number),
        ..Filter::default()
    };
    let here = streams.do_here(true, &filter).streams.into_iter().next();
    let stream = match here {
        Some(stream) => Some(stream),
        None => {
            let elsewhere = streams.do_elsewhere(true, &filter, clock).await?;
            elsewhere.into_iter().flat_map(|it| it.streams).next()
        }
    };
    let stream =
        stream.ok_or_else(|| Failure::unknown("stream", &number.to_string(), "streams ls"))?;
    let subject = Subject {
        user: Some(stream.user),
        client: Some(stream.client),
        grant: Some(stream.grant),
        what: number.to_string(),
        ..Subject::default()
    };
    Ok(Done::new::<CloseStreams>(
        &ClosedCount { closed: 1 },
        subject,
    ))
}

async fn user_id(
    settings: &Settings,
    records: &Records,
    text: &str,
    request: &Request,
) -> Result<String, Failure> {
    let id = lookup::user_id(settings, records, text, request.now).await?;
    Ok(id.as_str().to_owned())
}
