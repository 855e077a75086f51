//! Writing a whole response to a client, and leaving its connection in a state that is good for
//! the next request or closed.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, Method};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use super::headers::text;
use gateway_core::protocol::web::Response;

/// A body that nobody wants is read up to this size to keep the connection.
const WORTH_DRAINING: usize = 64 * 1024;

/// A body that nobody wants is read for this long, so that its sender sees the answer before the
/// connection is reset.
const LINGER: Duration = Duration::from_secs(2);

/// And up to this size.
const MOST_LINGERED: usize = 16 * 1024 * 1024;

/// A message as an event of a stream.
pub(super) fn event(message: &impl Display) -> Bytes {
    Bytes::from(format!("event: message\ndata: {message}\n\n"))
}

/// Writes `response` with its framing: the length of its body, no body for HEAD.
pub(super) async fn write(session: &mut ServerSession, response: Response) -> pingora::Result<()> {
    let (parts, body) = response.into_parts();
    let head_only = session.req_header().method == Method::HEAD;
    let mut head = ResponseHeader::build_no_case(parts.status, Some(parts.headers.len() + 4))?;
    for (name, value) in &parts.headers {
        if *name != CONNECTION && *name != TRANSFER_ENCODING && *name != CONTENT_LENGTH {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    let is_bodiless = gateway_lane::is_bodiless(parts.status);
    if !is_bodiless {
        head.insert_header(CONTENT_LENGTH, body.len())?;
    }
    let unread = !session.is_body_done();
    if unread && !is_worth_draining(&session.req_header().headers) {
        session.set_keepalive(None);
    }
    session.write_response_header(Box::new(head)).await?;
    let body = if head_only || is_bodiless {
        Bytes::new()
    } else {
        body
    };
    session.write_response_body(body, true).await?;
    if unread {
        linger(session).await;
    }
    Ok(())
}

/// A client that waits for `100 Continue` may or may not send its body after another answer, so
/// what follows on its connection can't be told.
fn is_worth_draining(headers: &HeaderMap) -> bool {
    let length = text(headers, CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    !headers.contains_key(EXPECT) && length.is_some_and(|length| length <= WORTH_DRAINING)
}

async fn linger(session: &mut ServerSession) {
    let drain = async {
        let mut read = 0;
        while let Ok(Some(chunk)) = session.read_request_body().await {
            read += chunk.len();
            if read > MOST_LINGERED {
                return;
            }
        }
    };
    if timeout(LINGER, drain).await.is_err() {
        session.set_keepalive(None);
    }
}
