//! What several files read of headers.

use http::header::AsHeaderName;
use http::{HeaderMap, HeaderName};

/// Names a session of Streamable HTTP.
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// The value of a header, where it is text: the first one, if it stands twice.
pub(super) fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
