//! Reading a request's body whole, bounded in size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use super::headers::text;
use super::in_flight::{FREE, Hold};
use super::proxy_error::ProxyError;
use super::rejection::Rejection;

/// Reads the body: at most `limit` bytes within `patience`. What is declared as larger is refused
/// before a byte is read; what is more than the budget lets be held, as soon as it is.
pub(super) async fn read(
    session: &mut ServerSession,
    limit: usize,
    patience: Duration,
    hold: Hold,
) -> Result<Bytes, ProxyError> {
    let headers = &session.req_header().headers;
    let declared = declared_length(headers);
    if declared.is_some_and(|length| length > limit) {
        return Err(Rejection::TooLarge.into());
    }
    if headers.contains_key(EXPECT) {
        session.write_continue_response().await?;
    }
    match timeout(patience, read_bounded(session, limit, declared, hold)).await {
        Ok(read) => read,
        Err(_) => {
            session.set_keepalive(None);
            Err(Rejection::TooSlow.into())
        }
    }
}

async fn read_bounded(
    session: &mut ServerSession,
    limit: usize,
    declared: Option<usize>,
    mut hold: Hold,
) -> Result<Bytes, ProxyError> {
    let Some(first) = session.read_request_body().await? else {
        return Ok(Bytes::new());
    };
    grow(session, &mut hold, first.len())?;
    // Most bodies arrive in one piece, which is used as it is.
    if declared == Some(first.len()) {
        return match session.read_request_body().await? {
            None => Ok(hold.over(first)),
            Some(_) => Err(Rejection::TooLarge.into()),
        };
    }
    // What is declared need not come: room is made for what is there.
    let mut whole = BytesMut::with_capacity(declared.unwrap_or(0).min(FREE));
    whole.extend_from_slice(&first);
    drop(first);
    while whole.len() <= limit {
        match session.read_request_body().await? {
            Some(chunk) => {
                grow(session, &mut hold, whole.len() + chunk.len())?;
                whole.extend_from_slice(&chunk);
            }
            None => return Ok(hold.over(whole.freeze())),
        }
    }
    session.set_keepalive(None);
    Err(Rejection::TooLarge.into())
}

/// Takes what is about to be held from the budget, or ends the connection after its answer.
fn grow(session: &mut ServerSession, hold: &mut Hold, bytes: usize) -> Result<(), Rejection> {
    hold.grow_beyond_free(bytes).map_err(|full| {
        session.set_keepalive(None);
        full.into()
    })
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    let length = text(headers, CONTENT_LENGTH)?;
    // A length that does not fit is larger than any limit.
    Some(length.trim().parse().unwrap_or(usize::MAX))
}

/// Whether the body of an MCP message is of the form that is taken: JSON in UTF-8, plain.
pub(super) fn check_form(headers: &HeaderMap) -> Result<(), Rejection> {
    let coding = headers.get(CONTENT_ENCODING).map(|value| value.as_bytes());
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        return Err(Rejection::Compressed);
    }
    let kind = text(headers, CONTENT_TYPE).ok_or(Rejection::MediaType)?;
    let mut parts = kind.split(';').map(str::trim);
    if !parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
    {
        return Err(Rejection::MediaType);
    }
    for parameter in parts {
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("charset")
            && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        {
            return Err(Rejection::MediaType);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(lines: &[(&'static str, &str)]) -> Result<(), Rejection> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        check_form(&headers)
    }

    #[test]
    fn a_message_is_plain_json_in_utf_8() {
        for kind in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json; x=y",
        ] {
            assert_eq!(form(&[("content-type", kind)]), Ok(()), "{kind}");
        }
        for kind in [
            "",
            "text/plain",
            "application/json-rpc",
            "application/x-www-form-urlencoded",
            "application/json; charset=utf-16",
            "text/plain; application/json",
        ] {
            assert_eq!(
                form(&[("content-type", kind)]),
                Err(Rejection::MediaType),
                "{kind}"
            );
        }
        assert_eq!(form(&[]), Err(Rejection::MediaType));
    }

    #[test]
    fn a_compressed_body_is_refused_before_it_is_read() {
        for coding in ["gzip", "br", "identity, gzip", ""] {
            assert_eq!(
                form(&[
                    ("content-type", "application/json"),
                    ("content-encoding", coding)
                ]),
                Err(Rejection::Compressed)
            );
        }
        assert_eq!(
            form(&[
                ("content-type", "application/json"),
                ("content-encoding", "identity")
            ]),
            Ok(())
        );
    }

    #[test]
    fn a_length_that_no_number_holds_is_too_large() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, "99999999999999999999999".parse().unwrap());
        assert_eq!(declared_length(&headers), Some(usize::MAX));
    }
}
