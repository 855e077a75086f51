//! The proxy by hyper's connection types: a server connection and a pinned client connection,
//! driven by one task or by two.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Either, Empty, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1 as client;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, HOST, HeaderValue};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::tokens::{find, goes_down, goes_on};

const LARGEST: usize = 64 * 1024;

type Answer = Response<Either<Incoming, Empty<Bytes>>>;
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The pinned connection: its sender, and what drives it if that is for this task to do.
#[derive(Default)]
struct Pinned {
    sender: Option<client::SendRequest<Full<Bytes>>>,
}

pub(crate) async fn serve(stream: TcpStream, backend: SocketAddr) {
    let driver: Arc<std::sync::Mutex<Option<Driver>>> = Arc::default();
    let slot = Arc::clone(&driver);
    let pinned = Arc::new(Mutex::new(Pinned::default()));
    let service = service_fn(move |request| {
        let (pinned, slot) = (Arc::clone(&pinned), Arc::clone(&slot));
        async move {
            let keep = move |drives: Driver| {
                if let Ok(mut slot) = slot.lock() {
                    *slot = Some(drives);
                }
            };
            Ok::<_, Infallible>(answer(request, &pinned, backend, keep).await)
        }
    });
    let mut serving =
        std::pin::pin!(server::Builder::new().serve_connection(TokioIo::new(stream), service));
    std::future::poll_fn(|context: &mut Context<'_>| {
        let served = serving.as_mut().poll(context).is_ready();
        if let Ok(mut slot) = driver.lock()
            && let Some(drives) = slot.as_mut()
            && drives.as_mut().poll(context).is_ready()
        {
            *slot = None;
        }
        if served {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

pub(crate) async fn serve_two_tasks(stream: TcpStream, backend: SocketAddr) {
    let pinned = Arc::new(Mutex::new(Pinned::default()));
    let service = service_fn(move |request| {
        let pinned = Arc::clone(&pinned);
        async move {
            let keep = |drives: Driver| drop(tokio::spawn(drives));
            Ok::<_, Infallible>(answer(request, &pinned, backend, keep).await)
        }
    });
    let _ = server::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    pinned: &Mutex<Pinned>,
    backend: SocketAddr,
    keep: impl Fn(Driver),
) -> Answer {
    thread_local!(static FAILED: RefCell<u64> = const { RefCell::new(0) });
    match exchange(request, pinned, backend, keep).await {
        Ok(answer) => answer,
        Err(error) => {
            FAILED.with_borrow_mut(|failed| *failed += 1);
            eprintln!("{error}");
            let mut answer = Response::new(Either::Right(Empty::new()));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        }
    }
}

async fn exchange(
    request: Request<Incoming>,
    pinned: &Mutex<Pinned>,
    backend: SocketAddr,
    keep: impl Fn(Driver),
) -> crate::Result<Answer> {
    let (mut parts, body) = request.into_parts();
    let authorization = parts.headers.get(AUTHORIZATION).ok_or("no token")?;
    let claims = find(authorization.as_bytes()).ok_or("no token")?;
    let body = Limited::new(body, LARGEST).collect().await?.to_bytes();
    let mut headers = hyper::HeaderMap::with_capacity(16);
    headers.insert(HOST, HeaderValue::from_static("127.0.0.1:9000"));
    for (name, value) in &parts.headers {
        if goes_on(name.as_str()) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers.insert("x-user", HeaderValue::from_str(&claims.user)?);
    headers.insert("x-client", HeaderValue::from_str(&claims.client)?);
    headers.insert("x-grant", HeaderValue::from_str(&claims.grant)?);
    parts.headers = headers;
    let mut pinned = pinned.lock().await;
    let sender = match &mut pinned.sender {
        Some(sender) => sender,
        none => {
            let stream = TcpStream::connect(backend).await?;
            stream.set_nodelay(true)?;
            let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
            keep(Box::pin(async move { drop(connection.await) }));
            none.insert(sender)
        }
    };
    sender.ready().await?;
    let response = sender
        .send_request(Request::from_parts(parts, Full::new(body)))
        .await?;
    let (mut parts, body) = response.into_parts();
    let mut headers = hyper::HeaderMap::with_capacity(8);
    for (name, value) in &parts.headers {
        if goes_down(name.as_str()) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    parts.headers = headers;
    Ok(Response::from_parts(parts, Either::Left(body)))
}
