//! The lane, with the same decisions as the other proxies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gateway_lane::{
    Address, Admission, Answer, Backend, Begin, End, Events, Exchange, Failed, Forward, Head,
    HeadWriter, Lane, Limits, Outcome, ResponseHead, ResponsePlan, Service, Traffic, Unfit,
};
use http::StatusCode;
use tokio::net::TcpStream;

use crate::tokens::{Claims, find, goes_down, goes_on};

pub(crate) struct Checks(Arc<Backend>);

pub(crate) struct Checked {
    backend: Arc<Backend>,
    claims: Option<Arc<Claims>>,
}

pub(crate) fn lane(backend: SocketAddr) -> Arc<Lane<Checks>> {
    let backend = Backend {
        id: 0,
        addresses: vec![Address::Tcp(backend)],
        connect_time: Duration::from_secs(5),
        response_time: Duration::from_secs(60),
        comes_up_until: None,
    };
    Lane::new(Checks(Arc::new(backend)), Limits::default(), now)
}

#[expect(clippy::disallowed_methods, reason = "a command: time enters here")]
fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

pub(crate) fn serve(stream: TcpStream, peer: SocketAddr, lane: Arc<Lane<Checks>>) {
    gateway_lane::spawn(lane, stream, peer, (), |_, ()| eprintln!("the other road"));
}

impl Service for Checks {
    type Exchange = Checked;

    async fn begin(&self, head: &Head<'_>, _peer: SocketAddr) -> Begin<Checked> {
        let claims = head.header("authorization").and_then(find);
        Begin::Exchange(Checked {
            backend: Arc::clone(&self.0),
            claims,
        })
    }

    fn is_draining(&self) -> bool {
        false
    }
}

impl Exchange for Checked {
    async fn admit(&mut self, head: &Head<'_>, body: &Bytes) -> Admission {
        if self.claims.is_none() {
            return Admission::Answer(Answer {
                status: StatusCode::UNAUTHORIZED,
                ..Answer::default()
            });
        }
        Admission::Forward(Forward {
            backend: Arc::clone(&self.backend),
            target: head.target().to_owned(),
            body: (head.method() == http::Method::POST).then(|| body.clone()),
            is_repeatable: false,
        })
    }

    fn write_request(&mut self, head: &Head<'_>, out: &mut HeadWriter<'_>) {
        out.header("host", b"127.0.0.1:9000");
        for (name, value) in head.headers() {
            if goes_on(name) {
                out.header(name, value);
            }
        }
        if let Some(claims) = &self.claims {
            out.header("x-user", claims.user.as_bytes());
            out.header("x-client", claims.client.as_bytes());
            out.header("x-grant", claims.grant.as_bytes());
        }
    }

    fn poll_ended(&mut self, _context: &mut Context<'_>) -> Poll<End> {
        Poll::Pending
    }

    fn respond(&mut self, head: &ResponseHead<'_>, out: &mut HeadWriter<'_>) -> ResponsePlan {
        for (name, value) in head.headers() {
            if goes_down(name) {
                out.header(name, value);
            }
        }
        out.header("x-content-type-options", b"nosniff");
        out.header("cache-control", b"no-store");
        match head.header("content-type") {
            Some(b"text/event-stream") => ResponsePlan::Events(Events {
                keep_alive: Duration::from_secs(15),
                is_filtered: false,
                waits: true,
            }),
            _ => ResponsePlan::Pass,
        }
    }

    async fn judge(&mut self, body: Bytes) -> Result<Bytes, Answer> {
        Ok(body)
    }

    async fn filter(&mut self, events: Bytes, _is_end: bool) -> Result<Bytes, Unfit> {
        Ok(events)
    }

    fn advance(&mut self, written: &[u8]) -> bool {
        written.ends_with(b"\n\n")
    }

    fn refuse(&mut self, _why: &Failed) -> Answer {
        Answer {
            status: StatusCode::BAD_GATEWAY,
            ..Answer::default()
        }
    }

    fn hold(&mut self, _bytes: usize) -> bool {
        true
    }

    fn becomes_stream(&mut self) {}

    fn finished(&mut self, _outcome: &Outcome, _traffic: Traffic) {}
}
