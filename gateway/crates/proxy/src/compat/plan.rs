//! Whether a request passes as it is, or what it is translated into. Pure but for the clock of
//! `discover_fallbacks`.

use http::Method;
use mcp_protocol::{RevisionFamilies, RevisionFamily};
use tokio::time::Instant;

use super::discover_fallbacks::FallbackKey;
use super::translator::Translator;
use crate::admission::Admitted;
use crate::destination::GatewayOwned;
use crate::mounted_backend::MountedBackend;
use crate::routes::McpEndpoint;

/// What the backend is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamProtocol {
    /// HTTP+SSE.
    HttpSse,
    /// Streamable HTTP with sessions.
    Sessions,
    /// Streamable HTTP without them.
    Stateless,
}

/// The way of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TranslationPlan {
    /// As it is.
    Through,
    /// It opens a stream of HTTP+SSE, which the gateway holds.
    LegacyStream(UpstreamProtocol),
    /// It is posted for such a stream.
    LegacyMessage(String),
    /// It begins a session.
    Begin(UpstreamProtocol),
    /// It belongs to a session that the gateway began.
    GatewaySession(String),
    /// It belongs to a session that the gateway began before its person had an account.
    WaitingSession(String, UpstreamProtocol),
    /// It is of 2026-07-28.
    Stateless(UpstreamProtocol),
    /// It is a stream that waits for its person's account.
    Unconnected,
}

impl TranslationPlan {
    /// For the log.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Through | Self::Unconnected => "",
            Self::LegacyStream(_) | Self::LegacyMessage(_) => "from 2024-11-05",
            Self::Begin(_) | Self::GatewaySession(_) | Self::WaitingSession(..) => "from 2025",
            Self::Stateless(_) => "from 2026-07-28",
        }
    }
}

/// What is looked at of a request.
#[derive(Clone, Copy, Debug)]
struct RequestFacts<'a> {
    mcp_endpoint: McpEndpoint,
    method: &'a Method,
    is_stateless: bool,
    /// The method of its one message.
    call: Option<&'a str>,
}

impl Translator {
    /// Whether a request passes as it is, by its head: `own` is what of the gateway's own it names.
    pub(crate) fn passes(
        mounted: &MountedBackend,
        endpoint: McpEndpoint,
        is_stateless: bool,
        own: Option<&GatewayOwned>,
    ) -> bool {
        own.is_none() && mounted.protocols.supports(family(endpoint, is_stateless))
    }

    /// The way of an admitted request.
    pub(crate) fn plan(&self, mounted: &MountedBackend, admitted: &Admitted) -> TranslationPlan {
        match &admitted.own {
            Some(GatewayOwned::Session(text)) => {
                return TranslationPlan::GatewaySession(text.clone());
            }
            Some(GatewayOwned::Waiting(text)) => {
                let protocol = closest(mounted.protocols.families());
                return TranslationPlan::WaitingSession(text.clone(), protocol);
            }
            Some(GatewayOwned::Stream(name)) => {
                return TranslationPlan::LegacyMessage(name.clone());
            }
            Some(GatewayOwned::Unconnected) => return TranslationPlan::Unconnected,
            None => {}
        }
        let calls = admitted.permit.calls();
        let facts = RequestFacts {
            mcp_endpoint: admitted.request.endpoint,
            method: &admitted.request.method,
            is_stateless: admitted.request.is_stateless,
            call: calls
                .first()
                .filter(|_| calls.len() == 1)
                .map(|call| call.method.as_str()),
        };
        let protocols = &mounted.protocols;
        if facts.call == Some("initialize") {
            self.discover_fallbacks
                .falls_back(&fallback_key(mounted, admitted));
        }
        if Self::passes(mounted, facts.mcp_endpoint, facts.is_stateless, None) {
            return TranslationPlan::Through;
        }
        let plan = plan(facts, protocols.families());
        match (&plan, facts.call) {
            // Nobody falls back from there where it is the gateway that asks.
            (TranslationPlan::Stateless(_), Some("server/discover"))
                if !admitted.is_part
                    && !self.discover_fallbacks.is_answered(
                        fallback_key(mounted, admitted),
                        protocols,
                        Instant::now(),
                    ) =>
            {
                TranslationPlan::Through
            }
            _ => plan,
        }
    }
}

/// Whose habits count for a request: those of the program that holds this grant. A client id may be
/// that of many programs, as a metadata document's is.
fn fallback_key(mounted: &MountedBackend, admitted: &Admitted) -> FallbackKey {
    let claims = admitted.permit.token().claims();
    (
        claims.grant.as_str().to_owned(),
        mounted.backend.mount.name.clone(),
    )
}

/// The revision family that a request is of, from where it came and whether it has no session.
pub(crate) const fn family(mcp_endpoint: McpEndpoint, is_stateless: bool) -> RevisionFamily {
    match mcp_endpoint {
        McpEndpoint::Sse | McpEndpoint::Messages => RevisionFamily::HttpSse,
        McpEndpoint::Mcp if is_stateless => RevisionFamily::Stateless,
        McpEndpoint::Mcp => RevisionFamily::Stateful,
    }
}

/// The way of a request of a revision family that the backend does not speak. What of its revision families comes closest
/// is chosen; for a client with sessions that is the stateless one, because nothing is kept then.
fn plan(facts: RequestFacts<'_>, protocols: RevisionFamilies) -> TranslationPlan {
    let protocol = |order: [UpstreamProtocol; 2]| {
        order.into_iter().find(|protocol| match protocol {
            UpstreamProtocol::HttpSse => protocols.has(RevisionFamily::HttpSse),
            UpstreamProtocol::Sessions => protocols.has(RevisionFamily::Stateful),
            UpstreamProtocol::Stateless => protocols.has(RevisionFamily::Stateless),
        })
    };
    let family = family(facts.mcp_endpoint, facts.is_stateless);
    let plan = match (family, facts.method, facts.call) {
        (RevisionFamily::HttpSse, &Method::GET, _) => {
            protocol([UpstreamProtocol::Sessions, UpstreamProtocol::Stateless])
                .map(TranslationPlan::LegacyStream)
        }
        (RevisionFamily::Stateful, &Method::POST, Some("initialize")) => {
            protocol([UpstreamProtocol::Stateless, UpstreamProtocol::HttpSse])
                .map(TranslationPlan::Begin)
        }
        (RevisionFamily::Stateless, &Method::POST, _) => {
            protocol([UpstreamProtocol::Sessions, UpstreamProtocol::HttpSse])
                .map(TranslationPlan::Stateless)
        }
        _ => None,
    };
    plan.unwrap_or(TranslationPlan::Through)
}

/// What a backend is spoken to in that a client with sessions has not begun one with: sessions, unless it
/// is known to have none.
fn closest(protocols: RevisionFamilies) -> UpstreamProtocol {
    if protocols.is_empty() || protocols.has(RevisionFamily::Stateful) {
        UpstreamProtocol::Sessions
    } else if protocols.has(RevisionFamily::Stateless) {
        UpstreamProtocol::Stateless
    } else {
        UpstreamProtocol::HttpSse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(
        mcp_endpoint: McpEndpoint,
        method: &Method,
        is_stateless: bool,
        call: &'static str,
    ) -> RequestFacts<'static> {
        let method: &'static Method = match *method {
            Method::GET => &Method::GET,
            Method::DELETE => &Method::DELETE,
            _ => &Method::POST,
        };
        RequestFacts {
            mcp_endpoint,
            method,
            is_stateless,
            call: (!call.is_empty()).then_some(call),
        }
    }

    fn only(family: RevisionFamily) -> RevisionFamilies {
        RevisionFamilies::NONE.and(family)
    }

    #[test]
    fn each_cell_has_its_way() {
        let stream = facts(McpEndpoint::Sse, &Method::GET, false, "");
        let begin = facts(McpEndpoint::Mcp, &Method::POST, false, "initialize");
        let call = facts(McpEndpoint::Mcp, &Method::POST, true, "tools/call");
        for (facts, protocols, expected) in [
            (
                stream,
                RevisionFamily::Stateful,
                TranslationPlan::LegacyStream(UpstreamProtocol::Sessions),
            ),
            (
                stream,
                RevisionFamily::Stateless,
                TranslationPlan::LegacyStream(UpstreamProtocol::Stateless),
            ),
            (
                begin,
                RevisionFamily::HttpSse,
                TranslationPlan::Begin(UpstreamProtocol::HttpSse),
            ),
            (
                begin,
                RevisionFamily::Stateless,
                TranslationPlan::Begin(UpstreamProtocol::Stateless),
            ),
            (
                call,
                RevisionFamily::HttpSse,
                TranslationPlan::Stateless(UpstreamProtocol::HttpSse),
            ),
            (
                call,
                RevisionFamily::Stateful,
                TranslationPlan::Stateless(UpstreamProtocol::Sessions),
            ),
        ] {
            assert_eq!(plan(facts, only(protocols)), expected);
        }
    }

    #[test]
    fn what_begins_nothing_passes() {
        for facts in [
            facts(McpEndpoint::Mcp, &Method::POST, false, "tools/list"),
            facts(McpEndpoint::Mcp, &Method::GET, false, ""),
            facts(McpEndpoint::Mcp, &Method::DELETE, false, ""),
            facts(McpEndpoint::Messages, &Method::POST, false, "tools/list"),
        ] {
            assert_eq!(
                plan(facts, only(RevisionFamily::Stateless)),
                TranslationPlan::Through
            );
        }
    }
}
