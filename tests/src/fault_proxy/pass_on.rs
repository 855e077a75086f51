//! What the proxy passes on, and spoils on the way back.

use super::*;

pub(super) async fn pass_on(
    shared: &Shared,
    fault: Option<Fault>,
    mut asked: RecordedRequest,
) -> Result<Response> {
    let upstream = shared.upstream.lock().expect("no panic under it").clone();
    let upstream = upstream.context("in front of nothing")?;
    if fault == Some(Fault::OriginStripped) && asked.is(Method::POST, "/mcp") {
        asked.headers.remove(header::ORIGIN);
    }
    if fault == Some(Fault::QueryTokenTaken) {
        let query = url::form_urlencoded::parse(asked.query.as_bytes());
        if let Some((_, token)) = query.into_iter().find(|(name, _)| name == "access_token") {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))?;
            asked.headers.insert(header::AUTHORIZATION, value);
        }
        if asked.path == "/mcp" {
            asked.query.clear();
        }
    }
    let mut url = Url::parse(&upstream)?.join(&asked.path)?;
    url.set_query((!asked.query.is_empty()).then_some(&asked.query));
    let mut request = shared.client.request(asked.method.clone(), url);
    for (name, value) in &asked.headers {
        if !matches!(
            *name,
            header::CONNECTION | header::CONTENT_LENGTH | header::TRANSFER_ENCODING
        ) {
            request = request.header(name, value);
        }
    }
    let response = request.body(asked.body.clone()).send().await?;
    let status = response.status();
    let mut headers = response.headers().clone();
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().to_owned();
    if kind.starts_with("text/event-stream") && asked.method == Method::GET {
        return Ok(stream(fault, &asked, headers, response));
    }
    let body = response.bytes().await?;
    let mut answer = Answered {
        status,
        headers,
        body,
    };
    if let Some(fault) = fault {
        spoil(fault, &asked, &mut answer, shared)?;
    }
    if asked.method != Method::HEAD {
        answer.headers.remove(header::CONTENT_LENGTH);
    }
    Ok((answer.status, answer.headers, answer.body).into_response())
}

/// A whole answer on its way back.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answered {
    fn change_json(&mut self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut document: Value = serde_json::from_slice(&self.body)?;
        change(&mut document);
        self.body = document.to_string().into();
        Ok(())
    }

    /// Change the parameters of a redirect for which `found` holds.
    fn change_location(
        &mut self,
        found: impl Fn(&str) -> bool,
        change: impl Fn(&str, String) -> Option<String>,
    ) -> Result<()> {
        let Some(location) = self.headers.get(header::LOCATION) else {
            return Ok(());
        };
        let location = location.to_str()?.to_owned();
        let Ok(mut url) = Url::parse(&location) else {
            return Ok(());
        };
        if !found(&location) {
            return Ok(());
        }
        let parameters: Vec<(String, String)> = url
            .query_pairs()
            .filter_map(|(name, value)| {
                Some((name.to_string(), change(&name, value.into_owned())?))
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(parameters);
        self.headers
            .insert(header::LOCATION, HeaderValue::from_str(url.as_str())?);
        Ok(())
    }
}

/// Change a whole answer.
fn spoil(
    fault: Fault,
    asked: &RecordedRequest,
    answer: &mut Answered,
    shared: &Shared,
) -> Result<()> {
    let server = asked.is(Method::GET, SERVER_METADATA);
    let resource = asked.is(Method::GET, RESOURCE_METADATA);
    let token = asked.is(Method::POST, "/token");
    let back = |location: &str| location.contains("/callback?");
    match fault {
        Fault::IssuerWithSlash if server => answer.change_json(|document| {
            document["issuer"] = json!(format!(
                "{}/",
                document["issuer"].as_str().unwrap_or_default()
            ));
        })?,
        Fault::NoS256 if server => {
            answer.change_json(|document| {
                document["code_challenge_methods_supported"] = json!(["plain"])
            })?;
        }
        Fault::NoPublicClients if server => answer.change_json(|document| {
            document["token_endpoint_auth_methods_supported"] = json!(["client_secret_basic"]);
        })?,
        Fault::NoIssFlag if server => answer.change_json(|document| {
            document["authorization_response_iss_parameter_supported"] = json!(false);
        })?,
        Fault::InternalTokenEndpoint if server => {
            answer.change_json(|document| {
                document["token_endpoint"] = json!("http://gateway:8080/token")
            })?;
        }
        Fault::EndpointElsewhere if server => answer.change_json(|document| {
            document["introspection_endpoint"] = json!("https://login.example.com/introspect");
        })?,
        Fault::ResourceMismatch if resource => answer.change_json(|document| {
            let origin = document["authorization_servers"][0].clone();
            document["resource"] = origin;
        })?,
        Fault::ForwardedHostTrusted if server && !asked.header("x-forwarded-host").is_empty() => {
            let text = String::from_utf8_lossy(&answer.body);
            answer.body = text
                .replace(asked.header("host"), asked.header("x-forwarded-host"))
                .into();
        }
        Fault::NoCors if asked.path.starts_with("/.well-known/") => {
            answer.headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        }
        Fault::ClockAhead => {
            if let Some(date) = answer.headers.get(header::DATE) {
                let ahead = httpdate::parse_http_date(date.to_str()?)? + Duration::from_secs(3600);
                let date = HeaderValue::from_str(&httpdate::fmt_http_date(ahead))?;
                answer.headers.insert(header::DATE, date);
            }
        }
        Fault::ChallengeStripped if asked.path == "/mcp" => {
            answer.headers.remove(header::WWW_AUTHENTICATE);
        }
        Fault::ChallengeElsewhere if asked.path == "/mcp" => {
            let challenge = answer
                .headers
                .get(header::WWW_AUTHENTICATE)
                .and_then(|value| value.to_str().ok());
            if let Some(challenge) = challenge {
                let challenge = challenge.replace("://127.0.0.1:", "://10.0.0.7:");
                answer
                    .headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_str(&challenge)?);
            }
        }
        Fault::InvalidTokenUnsaid if asked.path == "/mcp" => {
            let challenge = answer
                .headers
                .get(header::WWW_AUTHENTICATE)
                .and_then(|value| value.to_str().ok());
            if let Some(challenge) = challenge {
                let challenge = challenge.replace("error=\"invalid_token\"", "hint=\"none\"");
                answer
                    .headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_str(&challenge)?);
            }
        }
        Fault::RegistrationErrorPage
            if asked.path == "/register" && answer.status == StatusCode::BAD_REQUEST =>
        {
            html(answer);
        }
        Fault::LoginPageCached if asked.method == Method::GET && asked.path == "/authorize" => {
            let value = HeaderValue::from_static("public, max-age=600");
            answer.headers.insert(header::CACHE_CONTROL, value);
        }
        Fault::LoginPageFramed if asked.path == "/authorize" => {
            answer.headers.remove(header::CONTENT_SECURITY_POLICY);
            answer.headers.remove(header::X_FRAME_OPTIONS);
        }
        Fault::DenyWithoutState => answer.change_location(
            |location| back(location) && location.contains("error=access_denied"),
            |name, value| (name != "state").then_some(value),
        )?,
        Fault::StateMangled => answer.change_location(
            |location| back(location) && location.contains("code="),
            |name, value| {
                Some(if name == "state" {
                    value.replace(' ', "+")
                } else {
                    value
                })
            },
        )?,
        Fault::IssStripped => {
            answer.change_location(back, |name, value| (name != "iss").then_some(value))?
        }
        Fault::TokenErrorPage if token && answer.status != StatusCode::OK => html(answer),
        Fault::NoExpiresIn if token && answer.status == StatusCode::OK => {
            answer.change_json(|document| document["expires_in"] = Value::Null)?;
        }
        Fault::NoOfflineAccess if server => {
            answer.change_json(|document| document["scopes_supported"] = json!(["mcp"]))?;
        }
        Fault::RefreshTokenLost if token && answer.status == StatusCode::OK => {
            answer.change_json(|document| document["refresh_token"] = Value::Null)?;
        }
        Fault::RefreshNotRotated if token && answer.status == StatusCode::OK => {
            if let Some(same) = asked.refreshes() {
                answer.change_json(|document| document["refresh_token"] = json!(same))?;
            }
        }
        Fault::TokenStored if token => {
            answer.headers.remove(header::CACHE_CONTROL);
        }
        Fault::TokenRepeated if token && answer.status == StatusCode::OK => {
            let mut tokens = shared.tokens.lock().expect("no panic under it");
            tokens.push((asked.body.clone(), answer.body.clone()));
        }
        Fault::SearchTwoItems if asked.rpc_method() == "tools/call" => {
            let text = String::from_utf8_lossy(&answer.body);
            let two = text.replacen(
                "\"content\":[",
                "\"content\":[{\"type\":\"text\",\"text\":\"hello\"},",
                1,
            );
            answer.body = two.into();
        }
        Fault::SessionNotFoundHidden
            if asked.has_token() && answer.status == StatusCode::NOT_FOUND =>
        {
            answer.status = StatusCode::INTERNAL_SERVER_ERROR;
        }
        _ => {}
    }
    Ok(())
}

/// The same answer as an error page.
fn html(answer: &mut Answered) {
    answer
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    answer.body = Bytes::from_static(b"<html><h1>Error</h1></html>");
}

/// Relay an event stream: held back until its end, cut, or changed.
fn stream(
    fault: Option<Fault>,
    asked: &RecordedRequest,
    mut headers: HeaderMap,
    mut upstream: reqwest::Response,
) -> Response {
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(16);
    let legacy = asked.path == "/sse";
    // What the gateway opens itself, where there is a tunnel.
    let is_probe = asked.path == "/stream-probe";
    if fault == Some(Fault::StreamCompressed) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let patience = match fault {
        Some(Fault::IdleStreamCut) => Duration::from_secs(2),
        _ => Duration::from_secs(600),
    };
    tokio::spawn(async move {
        let mut held = Vec::new();
        let mut first = true;
        while let Ok(Ok(Some(mut chunk))) = tokio::time::timeout(patience, upstream.chunk()).await {
            let hold = match fault {
                Some(Fault::FirstEventHeldBack) => legacy || is_probe,
                Some(Fault::LaterEventsHeldBack) => legacy && !first,
                _ => false,
            };
            match fault {
                Some(Fault::EndpointInternal) if legacy && first => {
                    let text = String::from_utf8_lossy(&chunk);
                    let path = text.find("/messages").unwrap_or(0);
                    let path = &text[path..];
                    chunk = format!("event: endpoint\ndata: http://10.0.0.7:9000{path}").into();
                }
                Some(Fault::StreamCompressed) => chunk = gzip(&chunk, first),
                _ => {}
            }
            first = false;
            if hold {
                held.push(chunk);
            } else if sender.send(chunk).await.is_err() {
                return;
            }
        }
        for chunk in held {
            let _ = sender.send(chunk).await;
        }
    });
    let body = futures::stream::poll_fn(move |context| {
        receiver
            .poll_recv(context)
            .map(|chunk| chunk.map(Ok::<_, Infallible>))
    });
    (StatusCode::OK, headers, Body::from_stream(body)).into_response()
}

/// A piece of a gzip stream that stores its bytes (RFC 1951, 3.2.4; RFC 1952).
fn gzip(chunk: &[u8], first: bool) -> Bytes {
    let head: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut packed = if first { head.to_vec() } else { Vec::new() };
    for block in chunk.chunks(usize::from(u16::MAX)) {
        let length = u16::try_from(block.len()).expect("cut to that size");
        packed.push(0);
        packed.extend(length.to_le_bytes());
        packed.extend((!length).to_le_bytes());
        packed.extend(block);
    }
    packed.into()
}
