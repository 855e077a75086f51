//! The token look-up that both proxies do, and the words both add to a head.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, RwLock};

pub(crate) struct Claims {
    pub(crate) user: String,
    pub(crate) client: String,
    pub(crate) grant: String,
}

/// As long as a token of the gateway is.
pub(crate) static TOKEN: LazyLock<String> = LazyLock::new(|| "EoQBCg".repeat(70));

static KNOWN: LazyLock<RwLock<HashMap<String, Arc<Claims>>>> = LazyLock::new(|| {
    let claims = Claims {
        user: "alice".into(),
        client: "https://client.example.com/metadata".into(),
        grant: "g-0123456789abcdef".into(),
    };
    RwLock::new(HashMap::from([(TOKEN.clone(), Arc::new(claims))]))
});

pub(crate) fn find(authorization: &[u8]) -> Option<Arc<Claims>> {
    let token = std::str::from_utf8(authorization.strip_prefix(b"Bearer ")?).ok()?;
    KNOWN.read().ok()?.get(token).cloned()
}

/// What of a client's head goes on.
pub(crate) fn goes_on(name: &str) -> bool {
    const NEVER: &[&str] = &[
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "mcp-session-id",
        "origin",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-real-ip",
    ];
    const STARTING: &[&str] = &[
        "x-forwarded-",
        "x-remote-",
        "x-authenticated-",
        "sec-fetch-",
        "remote-",
    ];
    !NEVER.iter().any(|never| never.eq_ignore_ascii_case(name))
        && !STARTING.iter().any(|start| {
            name.len() >= start.len()
                && name.as_bytes()[..start.len()].eq_ignore_ascii_case(start.as_bytes())
        })
}

/// What of a backend's head goes down.
pub(crate) fn goes_down(name: &str) -> bool {
    const PASSED: &[&str] = &[
        "allow",
        "content-encoding",
        "content-language",
        "content-type",
        "etag",
        "last-modified",
        "retry-after",
    ];
    PASSED
        .iter()
        .any(|passed| passed.eq_ignore_ascii_case(name))
        || name.len() > 4 && name.as_bytes()[..4].eq_ignore_ascii_case(b"mcp-")
}
