//! The proxy as one loop over `httparse`: two buffers, a pinned backend connection, one vectored
//! write a side.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::tokens::{find, goes_down, goes_on};

const IDLE: Duration = Duration::from_secs(60);

pub(crate) async fn serve(client: TcpStream, backend: SocketAddr) {
    let _ = exchange_all(client, backend).await;
}

async fn exchange_all(mut client: TcpStream, backend: SocketAddr) -> io::Result<()> {
    let mut upstream: Option<TcpStream> = None;
    let (mut from_client, mut from_backend) = (Vec::with_capacity(8192), Vec::with_capacity(8192));
    let mut head = Vec::with_capacity(2048);
    let timer = sleep(IDLE);
    tokio::pin!(timer);
    loop {
        let deadline = Instant::now() + IDLE;
        let request = loop {
            if let Some(request) = request(&from_client, &mut head)? {
                break request;
            }
            if read(&mut client, &mut from_client, timer.as_mut(), deadline).await? == 0 {
                return Ok(());
            }
        };
        while from_client.len() < request.0 + request.1 {
            read(&mut client, &mut from_client, timer.as_mut(), deadline).await?;
        }
        let body = request.0..request.0 + request.1;
        let connection = match &mut upstream {
            Some(connection) => connection,
            none => {
                let connection = TcpStream::connect(backend).await?;
                connection.set_nodelay(true)?;
                none.insert(connection)
            }
        };
        write_both(connection, &head, &from_client[body.clone()]).await?;
        from_client.drain(..body.end);
        from_backend.clear();
        let answer = loop {
            if let Some(answer) = response(&from_backend, &mut head)? {
                break answer;
            }
            if read_watched(
                connection,
                &mut from_backend,
                &mut client,
                timer.as_mut(),
                deadline,
            )
            .await?
                == 0
            {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        while from_backend.len() < answer.0 + answer.1 {
            read_watched(
                connection,
                &mut from_backend,
                &mut client,
                timer.as_mut(),
                deadline,
            )
            .await?;
        }
        write_both(
            &mut client,
            &head,
            &from_backend[answer.0..answer.0 + answer.1],
        )
        .await?;
    }
}

fn request(buffer: &[u8], head: &mut Vec<u8>) -> io::Result<Option<(usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(buffer).map_err(io::Error::other)?;
    let httparse::Status::Complete(end) = parsed else {
        return Ok(None);
    };
    let (mut length, mut claims) = (0, None);
    head.clear();
    write!(
        head,
        "{} {} HTTP/1.1\r\nhost: 127.0.0.1:9000\r\n",
        request.method.unwrap_or(""),
        request.path.unwrap_or("")
    )?;
    for header in &*request.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value)
                .map_err(io::Error::other)?
                .parse()
                .map_err(io::Error::other)?;
        }
        if header.name.eq_ignore_ascii_case("authorization") {
            claims = find(header.value);
        }
        if goes_on(header.name) {
            head.extend_from_slice(header.name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(header.value);
            head.extend_from_slice(b"\r\n");
        }
    }
    let claims = claims.ok_or_else(|| io::Error::other("no token"))?;
    write!(
        head,
        "x-user: {}\r\nx-client: {}\r\nx-grant: {}\r\ncontent-length: {length}\r\n\r\n",
        claims.user, claims.client, claims.grant
    )?;
    Ok(Some((end, length)))
}

fn response(buffer: &[u8], head: &mut Vec<u8>) -> io::Result<Option<(usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(buffer).map_err(io::Error::other)?;
    let httparse::Status::Complete(end) = parsed else {
        return Ok(None);
    };
    let mut length = 0;
    head.clear();
    write!(
        head,
        "HTTP/1.1 {} {}\r\n",
        response.code.unwrap_or(0),
        response.reason.unwrap_or("")
    )?;
    for header in &*response.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value)
                .map_err(io::Error::other)?
                .parse()
                .map_err(io::Error::other)?;
        }
        if goes_down(header.name) {
            head.extend_from_slice(header.name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(header.value);
            head.extend_from_slice(b"\r\n");
        }
    }
    write!(
        head,
        "x-content-type-options: nosniff\r\ncache-control: no-store\r\ncontent-length: {length}\r\n\r\n"
    )?;
    Ok(Some((end, length)))
}

async fn read(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    mut timer: Pin<&mut Sleep>,
    deadline: Instant,
) -> io::Result<usize> {
    poll_fn(|context| {
        if let Poll::Ready(read) = poll_read(stream, buffer, context) {
            return Poll::Ready(read);
        }
        poll_timer(timer.as_mut(), deadline, context)
    })
    .await
}

/// Reads from the backend, and notices when the client goes away meanwhile.
async fn read_watched(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    client: &mut TcpStream,
    mut timer: Pin<&mut Sleep>,
    deadline: Instant,
) -> io::Result<usize> {
    poll_fn(|context| {
        if let Poll::Ready(read) = poll_read(stream, buffer, context) {
            return Poll::Ready(read);
        }
        if client.poll_read_ready(context).is_ready() {
            let mut scratch = [0; 1];
            let mut scratch = ReadBuf::new(&mut scratch);
            if Pin::new(&mut *client)
                .poll_read(context, &mut scratch)
                .is_ready()
            {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
        }
        poll_timer(timer.as_mut(), deadline, context)
    })
    .await
}

fn poll_read(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    context: &mut std::task::Context<'_>,
) -> Poll<io::Result<usize>> {
    let start = buffer.len();
    buffer.resize(start.max(4096) + 4096, 0);
    let mut piece = ReadBuf::new(&mut buffer[start..]);
    let polled = Pin::new(stream).poll_read(context, &mut piece);
    let read = piece.filled().len();
    buffer.truncate(start + read);
    polled.map_ok(|()| read)
}

fn poll_timer(
    mut timer: Pin<&mut Sleep>,
    deadline: Instant,
    context: &mut std::task::Context<'_>,
) -> Poll<io::Result<usize>> {
    while timer.as_mut().poll(context).is_ready() {
        if Instant::now() >= deadline {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}

async fn write_both(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    let written = stream
        .write_vectored(&[IoSlice::new(head), IoSlice::new(body)])
        .await?;
    if written < head.len() {
        stream.write_all(&head[written..]).await?;
        stream.write_all(body).await
    } else {
        stream.write_all(&body[written - head.len()..]).await
    }
}
