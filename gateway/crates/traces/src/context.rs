//! The context of a trace as it travels: `traceparent` and `tracestate` (W3C Trace Context), in headers and
//! in `_meta` of MCP.

use std::fmt;

use http::header::ToStrError;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header of who asks within which trace; `_meta` has a member of the same name.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header of what the systems on the way keep in it.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What W3C asks everybody to pass on of `tracestate`, in bytes. More is left out.
const MOST_STATE: usize = 512;

/// The length of `traceparent` in version 00, and of what later versions begin with.
const PARENT_LENGTH: usize = 55;

/// The name of a trace; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId(pub(crate) u128);

/// The name of a span; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanId(pub(crate) u64);

impl TraceId {
    pub(crate) fn random() -> Self {
        Self(rand::random::<u128>().max(1))
    }
}

impl SpanId {
    pub(crate) fn random() -> Self {
        Self(rand::random::<u64>().max(1))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A span of somebody else's, of whom the request comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteContext {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    /// Whether they keep the trace.
    pub(crate) is_sampled: bool,
    /// `tracestate`, as it is to go on; empty where there is none.
    pub(crate) state: String,
}

impl RemoteContext {
    /// Reads the two values. `None` where the first is not what W3C Trace Context §3.2 says; a second one
    /// that is too long, or no text for a header, is left out.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let traceparent = traceparent.trim();
        let known = traceparent.get(..PARENT_LENGTH)?;
        let rest = &traceparent[PARENT_LENGTH..];
        let mut fields = known.split('-');
        let version = hexadecimal(fields.next()?, 2)?;
        let trace = hexadecimal(fields.next()?, 32)?;
        let span = hexadecimal(fields.next()?, 16)?;
        let flags = hexadecimal(fields.next()?, 2)?;
        // Later versions may add to it, behind another dash; 255 is none.
        let is_whole = rest.is_empty() || (version > 0 && rest.starts_with('-'));
        if version == 0xff || !is_whole || trace == 0 || span == 0 {
            return None;
        }
        let state = tracestate.map(str::trim).filter(|state| {
            let is_text = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            state.len() <= MOST_STATE && state.bytes().all(is_text)
        });
        Some(Self {
            trace: TraceId(trace),
            // 16 digits are no more.
            span: SpanId(u64::try_from(span).ok()?),
            is_sampled: flags & 1 == 1,
            state: state.unwrap_or_default().to_owned(),
        })
    }

    /// That of a request's headers. Two different parents are none.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = parents.next()?.to_str().ok()?;
        if parents.next().is_some() {
            return None;
        }
        let lines = headers.get_all(TRACESTATE).iter().map(HeaderValue::to_str);
        let lines = lines.collect::<Result<Vec<_>, ToStrError>>();
        Self::parse(parent, lines.ok().map(|lines| lines.join(",")).as_deref())
    }
}

/// So many digits, in small letters; anything else is none.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_number = text.len() == digits && text.bytes().all(is_digit);
    is_number
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

/// What a backend is told of the trace, in place of what the client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagated {
    traceparent: HeaderValue,
    tracestate: Option<HeaderValue>,
}

impl Propagated {
    /// The names of the headers that it stands for: what a client sent under them goes no further.
    pub const NAMES: [HeaderName; 2] = [TRACEPARENT, TRACESTATE];

    pub(crate) fn new(trace: TraceId, span: SpanId, is_sampled: bool, state: &str) -> Self {
        let flags = u8::from(is_sampled);
        let traceparent = format!("00-{trace}-{span}-{flags:02x}");
        let state = (!state.is_empty()).then(|| HeaderValue::from_str(state).ok());
        Self {
            traceparent: HeaderValue::try_from(traceparent)
                .expect("digits and dashes are a value of a header"),
            tracestate: state.flatten(),
        }
    }

    /// The headers, by name.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, &HeaderValue)> {
        let parent = std::iter::once((TRACEPARENT, &self.traceparent));
        parent.chain(self.tracestate.iter().map(|state| (TRACESTATE, state)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_read_as_w3c_says_or_not_at_all() {
        let read = RemoteContext::parse(PARENT, Some(" a=1,b=2 ")).unwrap();
        assert_eq!(read.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(read.span.to_string(), "00f067aa0ba902b7");
        assert!(read.is_sampled);
        assert_eq!(read.state, "a=1,b=2");
        let other = |text: &str| RemoteContext::parse(text, None);
        assert!(!other(&PARENT.replace("-01", "-02")).unwrap().is_sampled);
        assert!(other(&PARENT.replace("-01", "-ff")).unwrap().is_sampled);
        assert!(other(&PARENT.replacen("00-", "01-", 1)).is_some());
        assert!(other(&format!("{}-more", PARENT.replacen("00-", "01-", 1))).is_some());
        for wrong in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT.replacen("00-", "ff-", 1),
            &format!("{PARENT}-more"),
            &format!("{}more", PARENT.replacen("00-", "01-", 1)),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &PARENT.replace("4bf9", "+bf9"),
            &PARENT.replace("-01", "-0é"),
        ] {
            assert_eq!(other(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_state_or_too_much_of_it_is_left_out() {
        for state in ["a=\r\nb", "a=ü", &"x".repeat(513)] {
            let read = RemoteContext::parse(PARENT, Some(state)).unwrap();
            assert_eq!(read.state, "", "{state}");
        }
        let longest = "x".repeat(512);
        let read = RemoteContext::parse(PARENT, Some(&longest)).unwrap();
        assert_eq!(read.state, longest);
    }

    #[test]
    fn headers_that_say_two_things_say_nothing() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        let read = RemoteContext::from_headers(&headers).unwrap();
        assert_eq!(read.state, "a=1,b=2");
        headers.append(TRACEPARENT, HeaderValue::from_static(PARENT));
        assert_eq!(RemoteContext::from_headers(&headers), None);
    }

    #[test]
    fn what_goes_on_can_be_read_again() {
        let (trace, span) = (TraceId(1), SpanId(2));
        let told = Propagated::new(trace, span, true, "a=1");
        let mut headers = HeaderMap::new();
        for (name, value) in told.headers() {
            headers.append(name, value.clone());
        }
        let read = RemoteContext::from_headers(&headers).unwrap();
        assert_eq!(
            (read.trace, read.span, read.is_sampled),
            (trace, span, true)
        );
        assert_eq!(read.state, "a=1");
    }
}
