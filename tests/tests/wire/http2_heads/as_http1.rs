//! Heads are refused and passed as those of HTTP/1.1 are.

use super::*;

#[tokio::test]
async fn a_head_is_refused_for_the_reason_that_http_1_1_has_for_it() -> Result<()> {
    let world = World::start().await?;
    let names: Vec<String> = (0..101).map(|at| format!("x-{at}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    for (what, more) in [
        ("two tokens", vec![("authorization", world.bearer.as_str())]),
        ("two content types", vec![("content-type", "text/plain")]),
        (
            "two sessions",
            vec![("mcp-session-id", "a"), ("mcp-session-id", "b")],
        ),
        ("two revisions", vec![("mcp-protocol-version", REVISION)]),
        ("an expectation", vec![("expect", "the unexpected")]),
        ("too many headers", many),
        ("a coded body", vec![("content-encoding", "gzip")]),
        ("another origin", vec![("origin", "https://evil.example")]),
    ] {
        let (status, reason, seen) = world.over_http_1(&more, "REFUSED").await?;
        assert!(
            (400..500).contains(&status) && !reason.is_empty(),
            "{what}: {status} {reason}"
        );
        assert!(seen.is_empty(), "{what}: {seen:?}");
        let mut connection = Connection::open(&world.fixture).await?;
        let body = marked("REFUSED");
        let outcome = connection
            .send(&world.head(&more), &[body.as_bytes()])
            .await?;
        assert_eq!(
            (outcome.status(), outcome.reason()),
            (status, reason),
            "{what}: {outcome:?}"
        );
        let seen = world.fixture.backend.marked("REFUSED");
        assert!(seen.is_empty(), "{what}: {seen:?}");
    }
    // What is longer than any head may be is not read to its end, by either.
    let long = "a".repeat(40 * 1024);
    let mut connection = Connection::open(&world.fixture).await?;
    let body = marked("REFUSED");
    let head = world.head(&[("x-long", long.as_str())]);
    let outcome = connection.send(&head, &[body.as_bytes()]).await?;
    let is_refused = [0, 400, 431].contains(&outcome.status());
    assert!(is_refused, "{outcome:?}");
    assert!(world.fixture.backend.marked("REFUSED").is_empty());
    // Another host, in whichever of the two places. Two that differ, and none, are refused by the library
    // that reads the frames, before there is a request that could have a reason.
    let ours = Some(world.host.as_str());
    let other = Some("evil.example");
    for (authority, host, status, reason) in [
        (other, None, 421, "host_not_ours"),
        (None, other, 421, "host_not_ours"),
        (other, ours, 400, ""),
        (ours, other, 400, ""),
        (None, None, 400, ""),
    ] {
        let pseudo = world.pseudo();
        let named = authority.map(|authority| (":authority", authority));
        let host = host.map(|host| ("host", host));
        let head = pseudo[..3].iter().copied().chain(named).chain(host);
        let head = fields(&[&head.collect::<Vec<_>>()[..], &world.plain()].concat());
        let mut connection = Connection::open(&world.fixture).await?;
        let body = marked("REFUSED");
        let outcome = connection.send(&head, &[body.as_bytes()]).await?;
        let seen = (outcome.status(), outcome.reason());
        assert_eq!(
            seen,
            (status, reason.to_owned()),
            "{authority:?} {host:?}: {outcome:?}"
        );
        assert!(world.fixture.backend.marked("REFUSED").is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn what_passes_reaches_the_backend_as_from_http_1_1() -> Result<()> {
    let world = World::start().await?;
    let more = [
        ("x-own", "kept"),
        ("x-own", "twice"),
        ("x-bytes", "\u{fc}ber"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("te", "trailers"),
        ("trailer", "x-later"),
        ("cookie", "a=1"),
        ("cookie", "session=2"),
        ("forwarded", "for=192.0.2.1"),
        ("x-forwarded-user", "root"),
        ("x_forwarded_user", "root"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-real-ip", "192.0.2.1"),
        ("proxy-authorization", "Basic x"),
        ("http2-settings", "x"),
        ("accept-encoding", "gzip"),
        ("user-agent", "a client"),
    ];
    let (status, _, seen) = world.over_http_1(&more, "ONE").await?;
    assert_eq!(status, 200);
    let one = seen.last().context("nothing came")?;
    let mut connection = Connection::open(&world.fixture).await?;
    let body = marked("TWO");
    // The name that it has beside its authority is the same one.
    let more = [&[("host", world.host.as_str())][..], &more].concat();
    let outcome = connection
        .send(&world.head(&more), &[body.as_bytes()])
        .await?;
    assert_eq!(outcome.status(), 200, "{outcome:?}");
    let seen = world.fixture.backend.marked("TWO");
    let two = seen.last().context("nothing came")?;
    let names = |request: &Recorded| {
        let headers = request.headers.iter();
        let mut headers: Vec<_> = headers
            .map(|(name, value)| (name.to_lowercase(), value.clone()))
            // How the body is framed is the hop's, and no field of either.
            .filter(|(name, _)| name != "connection")
            .collect();
        headers.sort();
        headers
    };
    assert_eq!(names(one), names(two));
    assert_eq!(two.header_values("x-own"), ["kept", "twice"]);
    for gone in [
        "te",
        "trailer",
        "cookie",
        "proxy-authorization",
        "http2-settings",
    ] {
        assert!(two.header(gone).is_none(), "{gone}: {two:?}");
    }
    assert_eq!(two.header_values("x-forwarded-user"), ["alice"]);
    Ok(())
}

#[tokio::test]
async fn a_cookie_may_come_in_pieces() -> Result<()> {
    let world = World::start().await?;
    let account = world.fixture.url("/account").parse()?;
    let mut browser = Browser::default();
    let page = browser.visit(&account).await?;
    let owner = &world.fixture.owner;
    browser.log_in(&page, &owner.name, &owner.password).await?;
    let cookies: Vec<String> = browser
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert!(cookies.len() > 1, "{cookies:?}");
    let pseudo = world.pseudo();
    let mut list = vec![
        (":method", "GET"),
        pseudo[1],
        (":path", "/account"),
        pseudo[3],
    ];
    list.extend(cookies.iter().map(|cookie| ("cookie", cookie.as_str())));
    let mut connection = Connection::open(&world.fixture).await?;
    let outcome = connection.send(&fields(&list), &[]).await?;
    assert_eq!(outcome.status(), 200, "{outcome:?}");
    let Outcome::Answered(_, page) = &outcome else {
        anyhow::bail!("{outcome:?}");
    };
    assert!(page.contains("Log out"), "{page}");
    Ok(())
}
