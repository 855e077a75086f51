//! The lane: plain requests for MCP, on `gateway-lane`'s transport. **One admission, two transports**: what is
//! decided here is decided by the functions of the other road on the same values, and a refusal is the same
//! answer. What differs is who moves the bytes.
//!
//! | request | road |
//! |---|---|
//! | POST to `/mcp` of a declared body of up to 64 KiB, GET, DELETE, for a backend at plain HTTP over TCP that speaks the client's revision family | the lane |
//! | … with any token, any policy: lists are cut, events judged here, too | the lane |
//! | … whose right is missing or not enough | the lane |
//! | … that is refused and of which the backend must be told something (`declined`) | the other, with its body put back |
//! | … that belongs to a session, stream or call of a translation, or would begin one | the other |
//! | HTTP+SSE (`/sse`, `/messages`) | the other |
//! | HEAD, OPTIONS (preflights), other methods | the other |
//! | a head that is not plainly one (`gateway_lane::Head`), HTTP/1.0, chunked or larger bodies, `Expect` | the other |
//! | backends at HTTPS or a unix socket | the other |
//! | OAuth, metadata, pages, whatever is no backend's | the other |
//!
//! A connection goes the other road for one request, and comes back idle (`listener`). Which road it is is
//! decided before anything is consumed: by the head, once a token counts, and for what is refused once its
//! body was read.
//!
//! Owns: what the lane is told ([`LaneService`], [`LaneExchange`]). Not: its transport (`gateway-lane`), what
//! is decided (`admission`, `exchange`, `response_head`, `upstream_head`).

mod answer;
mod backends;
mod exchange;
mod failure;
mod held;
mod service;

use std::sync::Arc;
use std::time::Duration;

use gateway_lane::{Lane, Limits};

pub(super) use self::service::LaneService;
use super::in_flight::TAKEN;
use super::metered::FREE_HEAD;
use super::serve::Service;
use super::settings::Settings;
use gateway_core::clock::Clock;
use gateway_core::open_files;
use gateway_upstream::IDLE;
use mcp_protocol::sse::KEEP_ALIVE;

/// The largest body of a request that is served here.
const LARGEST_BODY: usize = 64 * 1024;

/// The largest head of a backend's answer.
const LARGEST_ANSWER_HEAD: usize = 60 * 1024;

/// A lane for the requests of `service`. Needs no runtime.
pub(super) fn open(service: &Arc<Service>) -> Arc<Lane<LaneService>> {
    let limits = limits(&service.state.settings);
    let now = || Clock.now().to_system_time();
    Lane::new(LaneService::new(service), limits, now)
}

pub(super) fn limits(settings: &Settings) -> Limits {
    let timeouts = settings.timeouts;
    Limits {
        // What is larger is counted on the budget, which the other road does.
        head: FREE_HEAD.min(settings.request_header),
        body: LARGEST_BODY.min(settings.request_body),
        requests: u32::MAX,
        head_time: timeouts.head,
        idle: timeouts.idle,
        body_time: timeouts.body,
        write_time: timeouts.write,
        stall: TAKEN,
        linger: Duration::from_secs(2),
        response_head: LARGEST_ANSWER_HEAD,
        kept: open_files::kept(open_files::limit()),
        // First beside its client, then for anybody: together as long as on the other road.
        kept_for: IDLE,
        pinned_for: IDLE / 2,
        comment: KEEP_ALIVE,
        ..Limits::default()
    }
}
