//! What a backend says about its own address, turned into what is true for the client: the
//! `endpoint` event of the legacy transport.

use bytes::Bytes;

use super::holder::Holder;
use super::sessions::Sessions;
use super::tool_list_filter::LINE_BREAKS;
use gateway_upstream::{Backend, endpoint_path};
use mcp_protocol::sse::{Boundary, Event};

/// What may come before the first endpoint event, and how much of an event is held to be judged
/// whole, in bytes. A longer event passes as it comes, but may not name an endpoint.
const HELD: usize = 64 * 1024;

/// Rewrites every `endpoint` event of one legacy stream. Where messages are posted is for the gateway
/// to say, so nothing that a reader, however lenient, could take for such an event passes unread.
#[derive(Default)]
pub(super) struct EndpointRewriter {
    /// The path and query of the stream at the backend.
    stream: String,
    held: Vec<u8>,
    boundary: Boundary,
    /// Whether the beginning of the event has already gone to the client.
    is_passing: bool,
    /// Whether `held` begins within a line.
    is_within_line: bool,
    has_announced: bool,
    /// The path and query at the backend that was announced last, until somebody asks for it.
    announced: Option<String>,
}

/// The stream can't be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("no endpoint event at the start of the stream")]
    Missing,
    #[error("what its stream names as endpoint is no URL of http")]
    Foreign,
    #[error("an event of its stream can be read as an endpoint event, and as another")]
    Ambiguous,
}

impl EndpointRewriter {
    /// Of the stream with this path and query at the backend.
    pub(super) fn new(stream: String) -> Self {
        Self {
            stream,
            ..Self::default()
        }
    }

    /// Takes the next bytes of the backend and gives what goes to the client.
    pub(super) fn rewrite(
        &mut self,
        chunk: &[u8],
        backend: &Backend,
        holder: Holder<'_>,
        sessions: &Sessions,
    ) -> Result<Bytes, Unusable> {
        let mut out = Vec::with_capacity(chunk.len());
        for byte in chunk {
            self.boundary.advance(std::slice::from_ref(byte));
            self.held.push(*byte);
            if self.boundary.is_between_events() {
                self.end_event(&mut out, backend, holder, sessions)?;
            } else if self.held.len() > HELD {
                self.pass_on(&mut out)?;
            }
        }
        if self.is_passing {
            self.pass_on(&mut out)?;
        }
        Ok(Bytes::from(out))
    }

    /// Where the backend takes the messages of this stream; told once for each announcement.
    pub(super) fn announced(&mut self) -> Option<String> {
        self.announced.take()
    }

    /// An event is whole.
    fn end_event(
        &mut self,
        out: &mut Vec<u8>,
        backend: &Backend,
        holder: Holder<'_>,
        sessions: &Sessions,
    ) -> Result<(), Unusable> {
        let held = std::mem::take(&mut self.held);
        let is_passing = std::mem::take(&mut self.is_passing);
        let is_within_line = std::mem::take(&mut self.is_within_line);
        if !names_endpoint(&held, is_within_line) {
            out.extend_from_slice(&held);
            return Ok(());
        }
        if is_passing {
            return Err(Unusable::Ambiguous);
        }
        let event = Event::parse(&held).ok_or(Unusable::Ambiguous)?;
        if event.name != "endpoint" || event.data.contains(LINE_BREAKS) {
            return Err(Unusable::Ambiguous);
        }
        let target = endpoint_path(backend, &self.stream, &event.data).ok_or(Unusable::Foreign)?;
        let url = sessions.bind_endpoint(&target, holder);
        out.extend_from_slice(format!("event: endpoint\ndata: {url}\n\n").as_bytes());
        self.has_announced = true;
        self.announced = Some(target);
        Ok(())
    }

    /// An event is too large to be held: what there is of it goes on, but for the beginning of a line
    /// that is not known yet.
    fn pass_on(&mut self, out: &mut Vec<u8>) -> Result<(), Unusable> {
        if !self.has_announced {
            return Err(Unusable::Missing);
        }
        if names_endpoint(&self.held, self.is_within_line) {
            return Err(Unusable::Ambiguous);
        }
        let text = String::from_utf8_lossy(&self.held);
        let last = text.rsplit(is_line_break).next().unwrap_or_default();
        let is_unbroken = last.len() == text.len();
        // Longer than any way to write that field, and not recognised as it: another.
        let kept = if last.len() > LONGEST_FIELD || is_unbroken && self.is_within_line {
            0
        } else {
            last.len().min(self.held.len())
        };
        let gone = self.held.len() - kept;
        if gone > 0 {
            self.is_within_line = kept == 0 && !last.is_empty();
        }
        out.extend(self.held.drain(..gone));
        self.is_passing = true;
        Ok(())
    }
}

/// Longer than `event: endpoint` with whatever blanks somebody puts there.
const LONGEST_FIELD: usize = 256;

/// Characters at which some reader ends a line.
fn is_line_break(c: char) -> bool {
    matches!(c, '\n' | '\r') || LINE_BREAKS.contains(&c)
}

/// Whether a line of an event, as the most lenient reader would find it, calls it `endpoint`.
fn names_endpoint(bytes: &[u8], is_within_line: bool) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split(is_line_break).skip(usize::from(is_within_line));
    let is_noise = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    lines.into_iter().any(|line| {
        let Some((field, value)) = line.split_once(':') else {
            return false;
        };
        field.trim_matches(is_noise).eq_ignore_ascii_case("event")
            && value
                .trim_matches(|c| is_noise(c) || matches!(c, '"' | '\''))
                .eq_ignore_ascii_case("endpoint")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use gateway_core::access_token::{Claims, Tools};
    use gateway_core::client::ClientId;
    use gateway_core::clock::Timestamp;
    use gateway_core::grants::{GrantId, UserId};
    use gateway_core::protocol::resource::{Issuer, Mount, Resource};
    use gateway_core::protocol::scope::Scope;
    use gateway_core::secret::TagKey;
    use gateway_upstream::Address;

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
            account: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(5),
            start_timeout: Duration::from_secs(5),
            is_on_stdio: false,
            starts_with_us: false,
            pages: None,
            aggregate: None,
        }
    }

    fn claims() -> Claims {
        Claims {
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            groups: Vec::new(),
            client: ClientId::new("c_1"),
            grant: GrantId::new("g_1"),
            resource: Resource::from_token("https://h/notes/mcp"),
            scope: Scope::parse("mcp"),
            tools: Tools::All,
            issued: Timestamp::from_secs(1),
            expires: Timestamp::from_secs(2),
        }
    }

    fn holder<'a>(claims: &'a Claims, backend: &'a Backend) -> Holder<'a> {
        Holder {
            claims,
            mount: &backend.mount,
            account: None,
        }
    }

    fn rewritten(chunks: &[&[u8]]) -> Result<Vec<u8>, Unusable> {
        let sessions = Sessions::new(&TagKey::new([1; 32]), &Issuer::parse("https://h").unwrap());
        let mut rewriter = EndpointRewriter::new(backend().sse_path);
        let mut out = Vec::new();
        for chunk in chunks {
            let (claims, backend) = (claims(), backend());
            let holder = holder(&claims, &backend);
            out.extend_from_slice(&rewriter.rewrite(chunk, &backend, holder, &sessions)?);
        }
        Ok(out)
    }

    fn target(out: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(out).unwrap();
        let url = text.split("data: https://h/notes/messages?").nth(1)?;
        let sessions = Sessions::new(&TagKey::new([1; 32]), &Issuer::parse("https://h").unwrap());
        let (claims, backend) = (claims(), backend());
        sessions.unbind_endpoint(Some(url.split('\n').next()?), holder(&claims, &backend))
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
    fn what_an_endpoint_names_is_a_path_of_the_backend_whatever_it_calls_itself() {
        for (data, expected) in [
            ("/m?x=1", "/m?x=1"),
            ("m?x=1", "/v1/m?x=1"),
            ("?x=1", "/v1/sse?x=1"),
            ("http://backend:9000/m", "/m"),
            ("../m", "/m"),
            // Its own public name, or another's: nobody is sent there.
            ("https://public.example/m?x=1", "/m?x=1"),
            ("//public.example/m", "/m"),
            ("http://backend:9001/m", "/m"),
        ] {
            let out =
                rewritten(&[format!("event: endpoint\ndata: {data}\n\n").as_bytes()]).unwrap();
            assert_eq!(target(&out).as_deref(), Some(expected), "{data}");
        }
        for data in [
            "javascript:alert(1)",
            "data:text/plain,m",
            "ftp://backend/m",
        ] {
            let out = rewritten(&[format!("event: endpoint\ndata: {data}\n\n").as_bytes()]);
            assert_eq!(out, Err(Unusable::Foreign), "{data}");
        }
    }

    #[test]
    fn every_later_endpoint_is_rewritten_or_ends_the_stream_wherever_chunks_are_split() {
        let first = "event: endpoint\ndata: /m?x=1\n\n";
        for (later, expected) in [
            (
                "event: endpoint\ndata: http://evil.example/m?x=2\n\n",
                Some("/m?x=2"),
            ),
            ("data: /m?x=2\rid: 3\revent:endpoint\r\r", Some("/m?x=2")),
            (
                "event: endpoint\nevent: message\ndata: http://evil.example/\n\n",
                None,
            ),
            ("event: Endpoint\ndata: http://evil.example/\n\n", None),
            ("event:  endpoint \ndata: http://evil.example/\n\n", None),
            (
                "\u{feff}event\u{0}: endpoint\ndata: http://evil.example/\n\n",
                None,
            ),
            (
                "data: {\u{2028}event: endpoint\ndata: http://evil.example/\n\n",
                None,
            ),
            ("event: endpoint\n\n", None),
            ("event: endpoint\ndata: javascript:0\n\n", None),
            (
                "event: endpoint\u{85}\ndata: /m\u{85}data: http://evil.example/\n\n",
                None,
            ),
        ] {
            let stream = [first, later, "data: {}\n\n"].concat();
            for cut in 0..=stream.len() {
                let (a, b) = stream.as_bytes().split_at(cut);
                let out = rewritten(&[a, b]);
                let Some(expected) = expected else {
                    assert!(out.is_err(), "{later:?} {cut}: {out:?}");
                    continue;
                };
                let text = String::from_utf8(out.unwrap()).unwrap();
                assert!(!text.contains("evil"), "{text}");
                let second = text.split_once("\n\n").unwrap().1;
                assert_eq!(
                    target(second.as_bytes()).as_deref(),
                    Some(expected),
                    "{later:?}"
                );
            }
        }
        let broken = [
            first.as_bytes(),
            b"event: endpoint\ndata: http://e/\xff\n\n",
        ];
        assert!(rewritten(&broken).is_err());
    }

    #[test]
    fn a_large_event_passes_as_it_comes_unless_it_names_an_endpoint() {
        let first: &[u8] = b"event: endpoint\ndata: /m\n\n";
        let large = [
            b"event: message\ndata: ".as_slice(),
            &vec![b'x'; 300_000],
            b"\n\n",
        ]
        .concat();
        for size in [1, 777, 65_536, 400_000] {
            let chunks: Vec<&[u8]> = std::iter::once(first).chain(large.chunks(size)).collect();
            assert!(rewritten(&chunks).unwrap().ends_with(&large), "{size}");
            let hidden = [
                &large[..large.len() - 1],
                b"event: endpoint\ndata: http://e/\n\n",
            ]
            .concat();
            let chunks: Vec<&[u8]> = std::iter::once(first).chain(hidden.chunks(size)).collect();
            assert_eq!(rewritten(&chunks), Err(Unusable::Ambiguous), "{size}");
            // Within a line it is only text.
            let quoted = [&large[..large.len() - 2], b"event: endpoint\ndata: x\n\n"].concat();
            let chunks: Vec<&[u8]> = std::iter::once(first).chain(quoted.chunks(size)).collect();
            assert!(rewritten(&chunks).unwrap().ends_with(&quoted), "{size}");
        }
        assert_eq!(rewritten(&[&[b'x'; HELD + 1]]), Err(Unusable::Missing));
    }
}
