//! What a backend says about its own address, turned into what is true for the client: the
//! `endpoint` event of the legacy transport, and redirects.

use bytes::Bytes;
use http::StatusCode;

use super::sessions::Sessions;
use crate::access_token::Claims;
use crate::backend::{Backend, resolve_path};
use crate::protocol::sse::{Event, Splitter};

/// What may come before the endpoint event, in bytes.
const PREAMBLE: usize = 64 * 1024;

/// Rewrites the `endpoint` event of one legacy stream: until it has passed, only whole events go
/// on; everything after it goes on as it comes.
pub(super) enum EndpointRewriter {
    Waiting(Splitter),
    /// The path and query at the backend that was announced, until somebody asks for it.
    Done(Option<String>),
}

/// The stream can't be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("no endpoint event at the start of the stream")]
    NoEndpoint,
    #[error("the endpoint is on another origin than the backend")]
    ForeignEndpoint,
}

impl EndpointRewriter {
    pub(super) fn new() -> Self {
        Self::Waiting(Splitter::default())
    }

    /// Takes the next bytes of the backend and gives what goes to the client.
    pub(super) fn rewrite(
        &mut self,
        chunk: Bytes,
        backend: &Backend,
        claims: &Claims,
        sessions: &Sessions,
    ) -> Result<Bytes, Unusable> {
        let Self::Waiting(splitter) = self else {
            return Ok(chunk);
        };
        let events = splitter
            .split(&chunk, PREAMBLE)
            .map_err(|_| Unusable::NoEndpoint)?;
        let mut out = Vec::new();
        let mut found = None;
        for bytes in events {
            match Event::parse(&bytes) {
                Some(event) if event.name == "endpoint" && found.is_none() => {
                    let target =
                        resolve_path(backend, &event.data).ok_or(Unusable::ForeignEndpoint)?;
                    let url = sessions.bind_endpoint(&target, claims, &backend.mount);
                    out.extend_from_slice(format!("event: endpoint\ndata: {url}\n\n").as_bytes());
                    found = Some(target);
                }
                _ => out.extend_from_slice(&bytes),
            }
        }
        if found.is_some() {
            let Self::Waiting(splitter) = std::mem::replace(self, Self::Done(found)) else {
                unreachable!("it was waiting a moment ago, and nobody else holds it");
            };
            out.extend_from_slice(&splitter.rest());
        }
        Ok(Bytes::from(out))
    }

    /// Where the backend takes the messages of this stream; told once.
    pub(super) fn announced(&mut self) -> Option<String> {
        match self {
            Self::Waiting(_) => None,
            Self::Done(target) => target.take(),
        }
    }
}

/// What becomes of a redirect of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// None: the response goes to the client.
    No,
    /// To another path of the same backend, method and body unchanged: followed once.
    Within(String),
    /// Anything else. Where it leads is not for clients to know.
    Elsewhere,
}

/// Judges a status and its `Location`.
pub(super) fn redirect(
    backend: &Backend,
    from: &str,
    status: StatusCode,
    location: Option<&str>,
) -> Redirect {
    match (status.as_u16(), location) {
        (307 | 308, Some(location)) => match within(backend, from, location) {
            Some(target) if target != from => Redirect::Within(target),
            _ => Redirect::Elsewhere,
        },
        (300..=303 | 305..=308, _) => Redirect::Elsewhere,
        _ => Redirect::No,
    }
}

fn within(backend: &Backend, from: &str, location: &str) -> Option<String> {
    let base = url::Url::parse(&backend.origin()).ok()?.join(from).ok()?;
    let to = base.join(location).ok()?;
    if to.origin() != base.origin() || !to.username().is_empty() {
        return None;
    }
    Some(match to.query() {
        Some(query) => format!("{}?{query}", to.path()),
        None => to.path().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access_token::Tools;
    use crate::backend::Address;
    use crate::client::ClientId;
    use crate::clock::Timestamp;
    use crate::grants::{GrantId, UserId};
    use crate::protocol::resource::{Issuer, Mount, Resource};
    use crate::protocol::scope::Scope;
    use crate::secret::TagKey;

    fn backend() -> Backend {
        Backend {
            mount: Mount {
                name: "notes".into(),
                prefix: "/notes".into(),
            },
            address: Address::Tcp {
                host: "backend".into(),
                port: 9000,
                tls: false,
            },
            host: "backend:9000".into(),
            mcp_path: "/mcp".into(),
            sse_path: "/v1/sse".into(),
            headers: Vec::new(),
            approval_required: Default::default(),
            token_header: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(5),
        }
    }

    fn claims() -> Claims {
        Claims {
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            client: ClientId::new("c_1"),
            grant: GrantId::new("g_1"),
            resource: Resource::from_token("https://h/notes/mcp"),
            scope: Scope::parse("mcp"),
            tools: Tools::All,
            issued: Timestamp::from_secs(1),
            expires: Timestamp::from_secs(2),
        }
    }

    fn rewritten(chunks: &[&[u8]]) -> Result<Vec<u8>, Unusable> {
        let sessions = Sessions::new(&TagKey::new([1; 32]), &Issuer::parse("https://h").unwrap());
        let mut rewriter = EndpointRewriter::new();
        let mut out = Vec::new();
        for chunk in chunks {
            let chunk = Bytes::copy_from_slice(chunk);
            out.extend_from_slice(&rewriter.rewrite(chunk, &backend(), &claims(), &sessions)?);
        }
        Ok(out)
    }

    fn target(out: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(out).unwrap();
        let url = text.split("data: https://h/notes/messages?").nth(1)?;
        let sessions = Sessions::new(&TagKey::new([1; 32]), &Issuer::parse("https://h").unwrap());
        sessions.unbind_endpoint(Some(url.split('\n').next()?), &claims(), &backend().mount)
    }

    #[test]
    fn the_endpoint_becomes_public_wherever_chunks_are_split() {
        let stream: &[u8] = b": hello\n\nevent: endpoint\r\ndata: /messages/?session_id=1\r\n\r\nevent: message\ndata: {}\n\n";
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            let out = rewritten(&[first, second]).unwrap();
            assert_eq!(
                target(&out).as_deref(),
                Some("/messages/?session_id=1"),
                "{cut}"
            );
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with(": hello\n\n"), "{text}");
            assert!(text.ends_with("event: message\ndata: {}\n\n"), "{text}");
            assert!(!text.contains("session_id"));
        }
    }

    #[test]
    fn an_endpoint_may_be_relative_or_absolute_but_not_foreign() {
        for (data, expected) in [
            ("/m?x=1", "/m?x=1"),
            ("m?x=1", "/v1/m?x=1"),
            ("?x=1", "/v1/sse?x=1"),
            ("http://backend:9000/m", "/m"),
            ("../m", "/m"),
        ] {
            let out =
                rewritten(&[format!("event: endpoint\ndata: {data}\n\n").as_bytes()]).unwrap();
            assert_eq!(target(&out).as_deref(), Some(expected), "{data}");
        }
        for data in ["http://evil/m", "//evil/m", "http://backend:9001/m"] {
            let out = rewritten(&[format!("event: endpoint\ndata: {data}\n\n").as_bytes()]);
            assert_eq!(out, Err(Unusable::ForeignEndpoint), "{data}");
        }
    }

    #[test]
    fn after_the_endpoint_nothing_is_held_back() {
        let out = rewritten(&[b"event: endpoint\ndata: /m\n\n", b"data: par"]).unwrap();
        assert!(out.ends_with(b"data: par"));
        assert_eq!(
            rewritten(&[&[b'x'; PREAMBLE + 1]]),
            Err(Unusable::NoEndpoint)
        );
    }

    #[test]
    fn only_a_redirect_within_the_backend_is_followed() {
        let judge = |status: u16, location: Option<&str>| {
            redirect(
                &backend(),
                "/mcp",
                StatusCode::from_u16(status).unwrap(),
                location,
            )
        };
        assert_eq!(judge(200, None), Redirect::No);
        assert_eq!(judge(201, Some("http://backend:9000/x")), Redirect::No);
        assert_eq!(judge(304, None), Redirect::No);
        assert_eq!(
            judge(307, Some("http://backend:9000/mcp/")),
            Redirect::Within("/mcp/".into())
        );
        assert_eq!(
            judge(308, Some("/mcp/?a=b")),
            Redirect::Within("/mcp/?a=b".into())
        );
        for (status, location) in [
            (307, Some("http://evil/mcp/")),
            (307, Some("https://backend:9000/mcp/")),
            (307, Some("//evil/")),
            (307, None),
            (307, Some("/mcp")),
            (302, Some("/mcp/")),
            (301, Some("/mcp/")),
            (303, None),
            (300, None),
        ] {
            assert_eq!(
                judge(status, location),
                Redirect::Elsewhere,
                "{status} {location:?}"
            );
        }
    }
}
