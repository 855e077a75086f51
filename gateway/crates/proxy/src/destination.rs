//! Where a request goes at its backend, and which session it belongs to: what the client was given for
//! the backend's own names, taken back.

use http::{HeaderMap, Method};

use super::headers::{SESSION, text};
use super::holder::Holder;
use super::rejection::Rejection;
use super::request::{RequestHead, is_mirrored};
use super::routes::{BackendRoute, McpEndpoint};
use super::sessions::Sessions;
use super::upstream_head::forwarded_query;

/// The method of a stateless client's stream.
const LISTEN: &str = "subscriptions/listen";

/// Something that a translation keeps for a client, by what is written into its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GatewayOwned {
    /// A session.
    Session(String),
    /// A session that was begun before its person had an account at the backend.
    Waiting(String),
    /// A legacy stream, for which a message is posted.
    Stream(String),
    /// The stream of a client whose person has no account at the backend yet: it waits for one.
    Unconnected,
}

impl GatewayOwned {
    /// What is written into its name; nothing for a stream that has none.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Session(text) | Self::Waiting(text) | Self::Stream(text) => text,
            Self::Unconnected => "",
        }
    }
}

/// Where a request goes, and which session it belongs to. By default to no backend.
#[derive(Default)]
pub(super) struct Destination {
    pub(super) own: Option<GatewayOwned>,
    pub(super) target: String,
    pub(super) session: Option<String>,
}

impl Destination {
    pub(super) fn find(
        sessions: &Sessions,
        headers: &HeaderMap,
        route: BackendRoute<'_>,
        holder: Holder<'_>,
    ) -> Result<Self, Rejection> {
        let own = own(sessions, headers, route, holder);
        let (target, session) = match &own {
            Some(own) => (own.text().to_owned(), None),
            None => (
                target(sessions, route, holder)?,
                bound_session(sessions, headers, route, holder)?,
            ),
        };
        Ok(Self {
            own,
            target,
            session,
        })
    }

    /// Of a request whose person has no account at the backend: to none, but for a stream on which they are
    /// told of it once they have. One of a session is that of a session which was begun without.
    pub(super) fn unconnected(
        sessions: &Sessions,
        head: RequestHead<'_>,
        route: BackendRoute<'_>,
        holder: Holder<'_>,
    ) -> Self {
        let mirror = head.mirror();
        let is_waiting = || {
            let presented = text(head.headers, SESSION)?;
            sessions.unbind_waiting(presented, holder)
        };
        let is_stream = match *head.method {
            _ if route.endpoint != McpEndpoint::Mcp => false,
            Method::GET => !mirror.are_binding() && is_waiting().is_some(),
            Method::POST => mirror.are_binding() && mirror.method == Some(LISTEN.as_bytes()),
            _ => false,
        };
        Self {
            own: is_stream.then_some(GatewayOwned::Unconnected),
            ..Self::default()
        }
    }
}

/// Where the request goes at the backend.
fn target(
    sessions: &Sessions,
    route: BackendRoute<'_>,
    holder: Holder<'_>,
) -> Result<String, Rejection> {
    let backend = &route.mounted.backend;
    let query = route.target.query;
    match route.endpoint {
        McpEndpoint::Mcp => Ok(with_query(&backend.mcp_path, query)),
        McpEndpoint::Sse => Ok(with_query(&backend.sse_path, query)),
        McpEndpoint::Messages => sessions
            .unbind_endpoint(query, holder)
            .ok_or(Rejection::SessionUnknown),
    }
}

/// What of the gateway's own the request names. It is bound as the backend's are.
fn own(
    sessions: &Sessions,
    headers: &HeaderMap,
    route: BackendRoute<'_>,
    holder: Holder<'_>,
) -> Option<GatewayOwned> {
    match route.endpoint {
        McpEndpoint::Mcp if !is_mirrored(headers) => {
            let presented = text(headers, SESSION)?;
            if let Some(text) = sessions.unbind_own(presented, holder) {
                return Some(GatewayOwned::Session(text.to_owned()));
            }
            route.mounted.backend.account.as_ref()?;
            let text = sessions.unbind_waiting(presented, holder)?;
            Some(GatewayOwned::Waiting(text.to_owned()))
        }
        McpEndpoint::Messages => sessions
            .unbind_own_endpoint(route.target.query, holder)
            .map(GatewayOwned::Stream),
        McpEndpoint::Mcp | McpEndpoint::Sse => None,
    }
}

/// The backend's session id. Sessions are no authentication: one that was given to another user,
/// client or backend is unknown. 2026-07-28 has none: there the header is ignored.
fn bound_session(
    sessions: &Sessions,
    headers: &HeaderMap,
    route: BackendRoute<'_>,
    holder: Holder<'_>,
) -> Result<Option<String>, Rejection> {
    let Some(presented) = headers.get(SESSION) else {
        return Ok(None);
    };
    if route.endpoint != McpEndpoint::Mcp || is_mirrored(headers) {
        return Ok(None);
    }
    let id = presented
        .to_str()
        .ok()
        .and_then(|text| sessions.unbind(text, holder))
        .ok_or(Rejection::SessionUnknown)?;
    Ok(Some(id.to_owned()))
}

fn with_query(path: &str, query: Option<&str>) -> String {
    match forwarded_query(query) {
        None => path.to_owned(),
        Some(query) if path.contains('?') => format!("{path}&{query}"),
        Some(query) => format!("{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_backend_keeps_its_own_query() {
        assert_eq!(with_query("/mcp", None), "/mcp");
        assert_eq!(with_query("/mcp", Some("a=1")), "/mcp?a=1");
        assert_eq!(with_query("/mcp?k=v", Some("a=1")), "/mcp?k=v&a=1");
        assert_eq!(with_query("/mcp", Some("access_token=x")), "/mcp");
    }
}
