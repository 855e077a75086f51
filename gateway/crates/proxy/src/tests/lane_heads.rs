//! Heads that the lane takes, by the rules of the other road; and requests that it counts.

use std::sync::Mutex;
use std::time::SystemTime;

use gateway_lane::{Answer, Connection, Head, HeadDecision, Lane};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client::Client;
use super::scripted::json;
use super::*;
use crate::lane::LaneService;
use crate::routes::Target;

const TARGETS: &[&str] = &[
    "/mcp",
    "/",
    "/mcp/",
    "/a/b/mcp?c=d",
    "/~a;b",
    "//mcp",
    "/a/../mcp",
    "/%6dcp",
    "/mcp#a",
    "/a.b/..c/...",
    "/mcp?",
    "/mcp?a#b",
    "/mcp?a=%2f;?&[]{}|^`\"<>\\",
    "/mcp\u{e9}",
    "/-._~!$&'()*+,=:",
    "*",
    "mcp",
    "https://mcp.example.com/mcp",
    "/mcp?a=b?c=d/../e",
    "/mcp??",
    "/.",
    "/a/.",
    "/a//",
];

const LINES: &[&str] = &[
    "Authorization: Bearer a",
    "Accept: a",
    "Accept: b",
    "Content-Type: application/json",
    "Content-Encoding: gzip",
    "Content-Length: 0",
    "Content-Length: 3",
    "Cookie: a",
    "Expect: 100-continue",
    "Expect: a",
    "Host: a",
    "Last-Event-ID: 1",
    "Mcp-Method: a",
    "Mcp-Name: a",
    "Mcp-Session-Id: a",
    "MCP-Protocol-Version: a",
    "Origin: null",
    "TE: trailers",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "X-A: b",
    "X-A: c",
    "X_B: \t",
];

/// What the other road says of the head that the lane took last.
type HeadVerdict = Arc<Mutex<Option<Result<(), &'static str>>>>;

/// Takes nothing, and has the other road judge what the lane takes.
struct Judge(HeadVerdict);

impl gateway_lane::Service for Judge {
    type Exchange = <LaneService as gateway_lane::Service>::Exchange;
    type Memory = ();

    async fn begin(
        &self,
        head: &Head<'_>,
        _: SocketAddr,
        (): &mut (),
    ) -> HeadDecision<Self::Exchange> {
        let issuer = Issuer::parse(ISSUER).unwrap();
        let (target, headers) = (head.target(), head.to_header_map());
        let target = Target::read(target.as_bytes(), &issuer).map(|_| target.len());
        let judged = match target {
            Ok(length) => crate::framing::check_headers(&headers, length),
            Err(_) => Err("the target is ambiguous"),
        };
        *self.0.lock().unwrap() = Some(judged);
        HeadDecision::Answer(Answer {
            closes: true,
            ..Answer::default()
        })
    }

    fn is_draining(&self) -> bool {
        false
    }

    async fn draining(&self) {
        std::future::pending().await
    }
}

fn generated(random: &mut StdRng) -> String {
    let method = ["POST", "GET", "DELETE"].choose(random).unwrap();
    let target = if random.gen_bool(0.5) {
        TARGETS[0]
    } else {
        TARGETS.choose(random).unwrap()
    };
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n");
    let lines = random.gen_range(0..6);
    for line in LINES.choose_multiple(random, lines) {
        head += &format!("{line}\r\n");
    }
    if random.gen_bool(0.05) {
        head += &"X-C: d\r\n".repeat(random.gen_range(50..110));
    }
    if random.gen_bool(0.05) {
        head += &format!("X-E: {}\r\n", "f".repeat(random.gen_range(15_000..17_000)));
    }
    if *method == "POST" {
        head += "Content-Length: 0\r\n";
    }
    head + "\r\n"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_a_plain_head_to_the_lane_is_one_by_the_rules_of_the_other_road() {
    let world = Fixture::new(|_| json(PONG)).await;
    let limits = crate::lane::limits(&world.edge.service.state.settings);
    let judged = HeadVerdict::default();
    let lane = Lane::new(Judge(Arc::clone(&judged)), limits, || {
        SystemTime::UNIX_EPOCH
    });
    let (cases, mut random) = (2000, StdRng::seed_from_u64(10));
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut taken = 0;
    for _ in 0..cases {
        let head = generated(&mut random);
        let (mut client, served) = tokio::io::duplex(64 * 1024);
        client.write_all(head.as_bytes()).await.unwrap();
        let serving = async { drop(lane.serve(Connection::new(served, peer)).await) };
        let reading = async move { drop(client.read_to_end(&mut Vec::new()).await) };
        tokio::join!(serving, reading);
        if let Some(judged) = judged.lock().unwrap().take() {
            assert_eq!(judged, Ok(()), "{}", head.escape_debug());
            taken += 1;
        }
    }
    // Neither nearly all nor nearly none: the generator is of use.
    let share = taken * 100 / cases;
    assert!((10..90).contains(&share), "{share} of 100 were taken");
}

fn lane_requests(world: &Fixture) -> u64 {
    world.edge.service.state.lane_requests.value()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_body_does_not_come_is_counted_too() {
    let world = Fixture::with(|_| json(PONG), |settings| settings.lane = true).await;
    let request = world.request("POST", "/mcp", "", PING);
    let mut client = Client::connect(world.address).await;
    client.send(&request[..request.len() - 1]).await;
    assert_eq!(client.reply(false).await.unwrap().status, 408);
    assert_eq!(lane_requests(&world), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_comes_back_to_the_lane_from_the_other_road() {
    let world = Fixture::with(|_| json(PONG), |settings| settings.lane = true).await;
    let call = world.request("POST", "/mcp", "", PING);
    let chunks = format!("{:x}\r\n{PING}\r\n0\r\n\r\n", PING.len());
    let length = format!("Content-Length: {}", PING.len());
    let chunked = call.replacen(&length, "Transfer-Encoding: chunked", 1);
    let chunked = chunked.replacen(PING, &chunks, 1);
    assert_ne!(call, chunked);
    let mut client = Client::connect(world.address).await;
    for (request, count) in [
        (&chunked, 0),
        (&call, 1),
        (&chunked, 1),
        (&chunked, 1),
        (&call, 2),
    ] {
        client.send(request).await;
        assert_eq!(client.reply(false).await.unwrap().status, 200);
        assert_eq!(lane_requests(&world), count);
    }
}
