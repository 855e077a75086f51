//! Generated cases, sent on both roads.

use super::*;

/// Two gateways with a backend each, and what a client of both has.
struct Roads {
    lane: Gateway,
    lane_backend: Recorder,
    other: Gateway,
    other_backend: Recorder,
    issuer: String,
    tokens: Vec<(&'static str, String)>,
    session: String,
}

impl Roads {
    /// Both begin with a copy of what one gateway left behind.
    async fn start() -> Result<Self> {
        let mut fixture = Fixture::start().await?;
        let (client, all) = fixture.signed_in().await?;
        let chosen = client
            .sign_in_choosing(&fixture.owner, |form| form.choose_tools(&["look", "echo"]))
            .await?;
        let session = open_session(&fixture.url("/mcp"), &all).await?;
        let issuer = fixture.gateway.issuer();
        fixture.gateway.program().terminate(PATIENCE).await?;
        let (lane_backend, other_backend) = (
            Recorder::start(answer).await?,
            Recorder::start(answer).await?,
        );
        let gateway = async |switch: &str, backend: &Recorder| {
            let folder = tempfile::tempdir()?;
            for part in ["keys", "state"] {
                copy(
                    &fixture.gateway.folder().join(part),
                    &folder.path().join(part),
                )?;
            }
            let setup = Setup {
                public_url: Some(issuer.clone()),
                environment: roads::forced(switch),
                folder: Some(folder),
                ..Setup::default()
            };
            Gateway::start(setup.backend(&backend.url())).await
        };
        Ok(Self {
            lane: gateway("on", &lane_backend).await?,
            other: gateway("off", &other_backend).await?,
            lane_backend,
            other_backend,
            tokens: vec![
                ("all tools", format!("Bearer {all}")),
                ("some tools", format!("Bearer {chosen}")),
                ("no token", String::new()),
                ("no word", format!("Basic {all}")),
                ("broken", format!("Bearer {}", &all[..all.len() - 8])),
            ],
            session,
            issuer,
        })
    }
}

fn case(dice: &mut Dice, roads: &Roads, number: usize) -> Case {
    let method = dice.pick(&[
        "POST", "POST", "POST", "POST", "POST", "POST", "DELETE", "GET", "GET", "HEAD", "OPTIONS",
        "PUT",
    ]);
    let target = dice.pick(&[
        "/mcp",
        "/mcp",
        "/mcp",
        "/mcp",
        "/mcp",
        "/mcp",
        "/mcp",
        "/mcp",
        "/mcp",
        "/mcp",
        "/mcp/",
        "/mcp?a=b",
        "/mcp?access_token=x",
        "/",
        "/nowhere",
        "/mcp?",
        "/messages?session=x",
        "/.well-known/oauth-authorization-server",
        "/mcp//",
        "/%6dcp",
    ]);
    let version = if dice.one_in(60) {
        "HTTP/1.0"
    } else {
        "HTTP/1.1"
    };
    let script = match method {
        // Without a script that would be a stream which never ends.
        "GET" | "HEAD" => dice.pick(&SCRIPTS[SCRIPTED..]),
        _ => dice.pick(SCRIPTS),
    };
    let mut headers: Vec<(String, String)> = vec![("X-Case".into(), number.to_string())];
    let mut add = |name: &str, value: &str| headers.push((name.into(), value.into()));
    add("X-Script", script);
    let token = if dice.one_in(8) {
        dice.roll(roads.tokens.len())
    } else {
        dice.roll(2)
    };
    let token = &roads.tokens[token].1;
    if !token.is_empty() {
        add(dice.pick(&["Authorization", "authorization"]), token);
    }
    let body = if method == "POST" || dice.one_in(20) {
        body(dice)
    } else {
        Vec::new()
    };
    if method == "POST" || !body.is_empty() {
        add("Content-Length", &body.len().to_string());
    }
    if !dice.one_in(25) {
        add(
            "Content-Type",
            dice.pick(&[
                "application/json",
                "application/json",
                "application/json; charset=utf-8",
                "text/plain",
            ]),
        );
    }
    if !dice.one_in(10) {
        add(
            "Accept",
            dice.pick(&[
                "application/json, text/event-stream",
                "*/*",
                "application/json",
            ]),
        );
    }
    let odd = [
        ("Accept-Encoding", "gzip, br"),
        ("Cookie", "a=b"),
        ("Cookie", "c=d"),
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X_Forwarded_User", "mallory"),
        ("X-Forwarded-Grant", "g"),
        ("Remote-User", "mallory"),
        ("Via", "1.1 a"),
        ("Forwarded", "for=a"),
        ("X-Plain", "value with \t tab"),
        ("X-Bytes", "caf\u{e9}"),
        ("X-Empty", ""),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("User-Agent", "test/1"),
        ("Mcp-Session-Id", "wrong~tag"),
        ("Last-Event-ID", "7"),
        ("MCP-Protocol-Version", "2025-06-18"),
        ("MCP-Protocol-Version", "2025-03-26"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/list"),
        ("Mcp-Name", "echo"),
        ("Expect", "100-continue"),
        ("Connection", "keep-alive"),
        ("Connection", "X-Plain"),
        ("TE", "trailers"),
        ("Content-Encoding", "identity"),
        ("Content-Encoding", "gzip"),
        ("Access-Control-Request-Method", "POST"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Proxy-Authorization", "Basic x"),
        ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ];
    for _ in 0..dice.roll(5) {
        let (name, value) = odd[dice.roll(odd.len())];
        add(name, value);
    }
    if dice.one_in(3) {
        add("Mcp-Session-Id", &roads.session);
    }
    if dice.one_in(12) {
        add("Origin", &roads.issuer);
    }
    Case {
        line: format!("{method} {target} {version}\r\n"),
        cut: dice.one_in(4).then(|| dice.roll(400)),
        headers,
        body,
    }
}

/// What the backend answers: as the request's own header says, or as the scripted server.
fn answer(request: &Recorded) -> Answer {
    let list = || scripted_mcp::reply(&json!({"id": 1, "method": "tools/list"})).to_string();
    let event = |text: &str| Step::Send(format!("event: message\ndata: {text}\n\n"));
    let full = |status: u16, headers: &[(&str, &str)], body: &[u8]| {
        let owned = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
        Answer::Full(status, headers.iter().map(owned).collect(), body.to_vec())
    };
    match request.header("x-script").unwrap_or_default() {
        // Its answer has no body, whatever else it has.
        _ if request.method == "HEAD" => {
            full(200, &[("Content-Type", "application/json"), ("X-A", "1")], b"")
        }
        "list" => full(200, &[("Content-Type", "application/json")], list().as_bytes()),
        "list-chunked" => {
            let text = list();
            let (first, rest) = text.split_at(text.len() / 2);
            Answer::Steps(
                200,
                vec![("Content-Type".into(), "application/json; charset=utf-8".into())],
                vec![Step::Send(first.into()), Step::Send(rest.into())],
            )
        }
        "list-event" => Answer::events(vec![Step::Send(": hello\n\n".into()), event(&list())]),
        "list-event-split" => {
            let text = format!("data: {}\n\n", list());
            let (first, rest) = text.split_at(text.len() / 3);
            Answer::events(vec![
                Step::Send(first.into()),
                Step::Wait(Duration::from_millis(2)),
                Step::Send(rest.into()),
            ])
        }
        "event-unended" => Answer::events(vec![event("{}"), Step::Send("data: {\"a\":1}".into())]),
        "slow-event" => Answer::events(vec![
            event("{}"),
            Step::Wait(Duration::from_millis(300)),
            event("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}"),
        ]),
        "headers" => full(
            200,
            &[
                ("Content-Type", "APPLICATION/JSON; charset=utf-8"),
                ("Set-Cookie", "a=b"),
                ("X-A", "1"),
                ("X-a", "2"),
                ("X-Frame-Options", "ALLOWALL"),
                ("Server", "s"),
                ("Mcp-Session-Id", "from-the-backend"),
                ("Connection", "x-b"),
                ("X-B", "hop"),
                ("Retry-After", "3"),
                ("Traceparent", "00-a-b-01"),
                ("Access-Control-Allow-Origin", "*"),
                ("Link", "<x>; rel=preload"),
            ],
            b"{}",
        ),
        "page" => full(200, &[("Content-Type", "text/html")], b"<script>1</script>"),
        "gzip" => full(
            200,
            &[("Content-Type", "application/json"), ("Content-Encoding", "gzip")],
            b"\x1f\x8b\x08",
        ),
        "latin" => full(
            200,
            &[("Content-Type", "application/json; charset=latin1")],
            b"{\"a\":\"\xe9\"}",
        ),
        "no-type" => full(200, &[], b"something"),
        "accepted" => full(202, &[], b""),
        "nothing" => full(204, &[], b""),
        "large" => full(200, &[("Content-Type", "application/json")], &large()),
        "401" => full(401, &[("WWW-Authenticate", "Basic")], b"no"),
        "403" => full(403, &[("Content-Type", "text/plain")], b"no"),
        "403-challenge" => full(403, &[("WWW-Authenticate", "Bearer")], b"no"),
        "404" => full(404, &[("Content-Type", "application/json")], b"{\"error\":1}"),
        "500" => full(500, &[("Content-Type", "text/plain")], b"trace"),
        "302" => full(302, &[("Location", "/else")], b""),
        "307-outside" => full(307, &[("Location", "http://evil.example/mcp")], b""),
        "307" if request.path() != "/moved" => full(307, &[("Location", "/moved?x=1")], b""),
        "307-twice" if request.path() != "/moved" => full(307, &[("Location", "/moved")], b""),
        "307-twice" => full(307, &[("Location", "/again")], b""),
        "early" => Answer::Bytes(
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        ),
        "old" => Answer::Bytes(
            b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"till\":\"the end\"}".to_vec(),
        ),
        "old-chunks" => odd_head("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n"),
        "two-chunked" => odd_head(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        "chunks-and-length" => odd_head(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        ),
        "identity" => Answer::Bytes(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: identity\r\n\r\n{}".to_vec(),
        ),
        "spaced" => odd_head("HTTP/1.1 200 OK\r\nX-A : 1\r\nX-B \t: 2\r\nTransfer-Encoding : chunked\r\n"),
        "folded" => odd_head("HTTP/1.1 200 OK\r\nX-A: 1\r\n  2\r\n\t3\r\nTransfer-Encoding: chunked\r\n"),
        "bare-lines" => odd_head("HTTP/1.1 200 OK\nX-A: 1\nTransfer-Encoding: chunked\n"),
        "informed" => odd_head(&format!(
            "{}HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
            "HTTP/1.1 102 Processing\r\n\r\n".repeat(20)
        )),
        "no-http" => Answer::Bytes(b"SSH-2.0-OpenSSH\r\n".to_vec()),
        "reset" => Answer::Reset,
        _ => scripted_mcp::answer(request),
    }
}

/// Two chunks of JSON under this head, which wants its type yet.
fn odd_head(head: &str) -> Answer {
    let rest = "Content-Type: application/json\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
    Answer::Bytes(format!("{head}{rest}").into_bytes())
}

fn large() -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": 1, "result": {"text": "x".repeat(300_000)}})
        .to_string()
        .into_bytes()
}

/// What a backend got of a case, but for where it listens and how often.
fn arrived(backend: &Recorder, number: usize) -> Vec<Recorded> {
    let number = number.to_string();
    let of_case = |request: &Recorded| request.header("x-case") == Some(number.as_str());
    let mut all: Vec<Recorded> = backend
        .take_requests()
        .into_iter()
        .filter(of_case)
        .collect();
    for request in &mut all {
        for (name, _) in &mut request.headers {
            name.make_ascii_lowercase();
        }
        request.headers.retain(|(name, _)| name != "host");
        request.headers.sort();
    }
    // On a kept connection that broke, what changes nothing is sent once more: which of the two gateways
    // had one is chance.
    all.dedup_by(|next, request| {
        may_repeat(request) && format!("{next:?}") == format!("{request:?}")
    });
    all
}

/// Whether sending it twice is the same as sending it once.
fn may_repeat(request: &Recorded) -> bool {
    if request.body.is_empty() {
        return true;
    }
    let messages = match request.json() {
        Value::Array(messages) => messages,
        message => vec![message],
    };
    let repeatable = [
        "initialize",
        "notifications/initialized",
        "ping",
        "tools/list",
        "resources/list",
    ];
    messages.iter().all(|message| {
        let method = message["method"].as_str();
        method.is_some_and(|method| repeatable.contains(&method))
    })
}

/// What both roads answer. Over a kept connection that the backend leaves at that moment a call is not sent again,
/// and told as 502: which of the two gateways meets that is chance, and asked again neither does.
async fn ask_both(
    roads: &Roads,
    [one, two]: [&mut Client; 2],
    bytes: &[u8],
    case: &Case,
) -> Result<(Outcome, Outcome)> {
    let is_head = case.line.starts_with("HEAD");
    let was_left = |answer: &Outcome| matches!(answer, Outcome::Whole(502, _, said, _) if said.contains("upstream_failed"));
    let mut tries = 0;
    loop {
        let first = one.send(bytes, case.cut, is_head).await?;
        let second = two.send(bytes, case.cut, is_head).await?;
        tries += 1;
        if was_left(&first) == was_left(&second) || tries == 3 {
            return Ok((first, second));
        }
        (one.socket, two.socket) = (None, None);
        roads.lane_backend.take_requests();
        roads.other_backend.take_requests();
    }
}

#[tokio::test]
async fn whatever_is_sent_both_roads_make_the_same_of_it() -> Result<()> {
    // The same each time, unless another one is asked for: what one run finds the next one finds.
    let seed: u64 = std::env::var("LANE_SEED").map_or(Ok(1), |text| text.parse())?;
    let roads = Roads::start().await?;
    let host = format!("127.0.0.1:{}", roads.lane.port);
    let mut one = Client {
        address: roads.lane.address(),
        socket: None,
    };
    let mut two = Client {
        address: roads.other.address(),
        socket: None,
    };
    let mut dice = Dice(seed | 1);
    let (start, mut statuses) = (Instant::now(), BTreeSet::new());
    let mut number = 0;
    // Until the time is over and each kind of answer was there, however slow the machine is.
    let wanted = [200, 202, 400, 401, 404, 502];
    let lacks = |statuses: &BTreeSet<u16>| wanted.iter().any(|status| !statuses.contains(status));
    while number < MOST && (start.elapsed() < WHILE || number < 50 || lacks(&statuses)) {
        number += 1;
        let case = case(&mut dice, &roads, number);
        let bytes = framed(&mut dice, &case, &host);
        // Most requests come on a connection that has been on either road.
        if dice.one_in(4) {
            (one.socket, two.socket) = (None, None);
        }
        let answers = ask_both(&roads, [&mut one, &mut two], &bytes, &case).await;
        let told = || {
            let text = String::from_utf8_lossy(&bytes);
            let text: String = text.chars().take(3000).collect();
            format!("seed {seed}, case {number}, cut {:?}:\n{text}\n", case.cut)
        };
        let (first, second) = answers.with_context(told)?;
        if let Outcome::Whole(status, ..) = &first {
            statuses.insert(*status);
        }
        if first != second {
            bail!(
                "{}the lane answered\n{first:?}\nthe other road\n{second:?}",
                told()
            );
        }
        let reached = (
            arrived(&roads.lane_backend, number),
            arrived(&roads.other_backend, number),
        );
        let as_text = |all: &[Recorded]| format!("{all:?}");
        if as_text(&reached.0) != as_text(&reached.1) {
            bail!(
                "{}the lane's backend got\n{:?}\nthe other's\n{:?}",
                told(),
                reached.0,
                reached.1
            );
        }
    }
    // What is compared are two roads: about a third of what is generated is plain.
    let (first, second) = (
        roads::on_lane(&roads.lane).await?,
        roads::on_lane(&roads.other).await?,
    );
    assert!(
        first * 6 > number as u64,
        "{first} of {number} went the lane"
    );
    assert_eq!(second, 0);
    println!(
        "seed {seed}: {number} cases in {:?}, {first} on the lane, statuses {statuses:?}",
        start.elapsed()
    );
    assert!(!lacks(&statuses), "{wanted:?} are not all in {statuses:?}");
    Ok(())
}
