//! Whether a request passes as it is, or what it is translated into. Pure but for the clock of
//! [`Habits`].

use std::time::Duration;

use eras::{Era, Eras};
use http::Method;
use pingora::protocols::http::ServerSession;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::backend::Spoken;
use crate::proxy::admission::{Admitted, Own};
use crate::proxy::routes::McpEndpoint;
use crate::proxy::{MountedBackend, ProxyState};

/// What the backend is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Back {
    /// HTTP+SSE.
    HttpSse,
    /// Streamable HTTP with sessions.
    Sessions,
    /// Streamable HTTP without them.
    Stateless,
}

/// The way of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Way {
    /// As it is.
    Through,
    /// It opens a stream of HTTP+SSE, which the gateway holds.
    OldStream(Back),
    /// It is posted for such a stream.
    OldMessage(String),
    /// It begins a session.
    Begin(Back),
    /// It belongs to a session that the gateway began.
    OwnSession(String),
    /// It is of 2026-07-28.
    Stateless(Back),
}

impl Way {
    /// For the log.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Through => "",
            Self::OldStream(_) | Self::OldMessage(_) => "from 2024-11-05",
            Self::Begin(_) | Self::OwnSession(_) => "from 2025",
            Self::Stateless(_) => "from 2026-07-28",
        }
    }
}

/// What is looked at of a request.
#[derive(Clone, Copy, Debug)]
struct Looked<'a> {
    mcp_endpoint: McpEndpoint,
    method: &'a Method,
    is_stateless: bool,
    /// The method of its one message.
    call: Option<&'a str>,
}

impl ProxyState {
    /// The way of an admitted request.
    pub(in crate::proxy) fn way(
        &self,
        mounted: &MountedBackend,
        mcp_endpoint: McpEndpoint,
        session: &ServerSession,
        admitted: &Admitted,
    ) -> Way {
        match &admitted.own {
            Some(Own::Session(text)) => return Way::OwnSession(text.clone()),
            Some(Own::Stream(name)) => return Way::OldMessage(name.clone()),
            None => {}
        }
        let calls = admitted.permit.calls();
        let looked = Looked {
            mcp_endpoint,
            method: &session.req_header().method,
            is_stateless: admitted.is_stateless,
            call: calls
                .first()
                .filter(|_| calls.len() == 1)
                .map(|call| call.method.as_str()),
        };
        let spoken = &mounted.spoken;
        if looked.call == Some("initialize") {
            self.translator.habits.falls_back(&who(mounted, admitted));
        }
        if spoken.may_speak(era_of(looked)) {
            return Way::Through;
        }
        let way = way(looked, spoken.eras());
        match (&way, looked.call) {
            (Way::Stateless(_), Some("server/discover"))
                if !self.translator.habits.is_answered(
                    who(mounted, admitted),
                    spoken,
                    Instant::now(),
                ) =>
            {
                Way::Through
            }
            _ => way,
        }
    }
}

/// Whose habits count for a request: those of the program that holds this grant. A client id may be
/// that of many programs, as a metadata document's is.
fn who(mounted: &MountedBackend, admitted: &Admitted) -> Who {
    let claims = admitted.permit.token().claims();
    (
        claims.grant.as_str().to_owned(),
        mounted.backend.mount.name.clone(),
    )
}

/// The era that a request is of.
fn era_of(looked: Looked<'_>) -> Era {
    era(looked.mcp_endpoint, looked.is_stateless)
}

/// The same, from where it came and whether it has no session.
pub(in crate::proxy) const fn era(mcp_endpoint: McpEndpoint, is_stateless: bool) -> Era {
    match mcp_endpoint {
        McpEndpoint::Sse | McpEndpoint::Messages => Era::HttpSse,
        McpEndpoint::Mcp if is_stateless => Era::Stateless,
        McpEndpoint::Mcp => Era::Sessions,
    }
}

/// The way of a request of an era that the backend does not speak. What of its eras comes closest
/// is chosen; for a client with sessions that is the stateless one, because nothing is kept then.
fn way(looked: Looked<'_>, spoken: Eras) -> Way {
    let back = |order: [Back; 2]| {
        order.into_iter().find(|back| match back {
            Back::HttpSse => spoken.has(Era::HttpSse),
            Back::Sessions => spoken.has(Era::Sessions),
            Back::Stateless => spoken.has(Era::Stateless),
        })
    };
    let way = match (era_of(looked), looked.method, looked.call) {
        (Era::HttpSse, &Method::GET, _) => {
            back([Back::Sessions, Back::Stateless]).map(Way::OldStream)
        }
        (Era::Sessions, &Method::POST, Some("initialize")) => {
            back([Back::Stateless, Back::HttpSse]).map(Way::Begin)
        }
        (Era::Stateless, &Method::POST, _) => {
            back([Back::Sessions, Back::HttpSse]).map(Way::Stateless)
        }
        _ => None,
    };
    way.unwrap_or(Way::Through)
}

/// What is known of a client: a grant and a backend.
type Who = (String, String);

/// A second question this soon after the first is of another conversation of the same client, not
/// of somebody who tries again.
const AT_ONCE: Duration = Duration::from_secs(2);

/// How many clients are remembered.
const CLIENTS: usize = 8192;

#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Its `server/discover` was refused by the backend.
    Refused(Instant),
    /// It falls back to `initialize`.
    FallsBack,
    /// It does not.
    Stays,
}

/// How clients of 2026-07-28 take a refusal of `server/discover`.
pub(super) struct Habits(Cache<Who, Habit>);

impl Default for Habits {
    fn default() -> Self {
        Self(Cache::new(CLIENTS))
    }
}

impl Habits {
    /// Whether `server/discover` of this client is answered in the backend's stead.
    fn is_answered(&self, who: Who, spoken: &Spoken, now: Instant) -> bool {
        if spoken.answers_discover() {
            return true;
        }
        match self.0.get(&who) {
            Some(Habit::Stays) => true,
            Some(Habit::FallsBack) => false,
            Some(Habit::Refused(at)) if now.duration_since(at) >= AT_ONCE => {
                self.0.insert(who, Habit::Stays);
                true
            }
            Some(Habit::Refused(_)) => false,
            None => {
                self.0.insert(who, Habit::Refused(now));
                false
            }
        }
    }

    /// It said `initialize`.
    fn falls_back(&self, who: &Who) {
        // Only of interest for one that was refused: most clients never ask.
        if self.0.get(who).is_some() {
            self.0.insert(who.clone(), Habit::FallsBack);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(
        mcp_endpoint: McpEndpoint,
        method: &Method,
        is_stateless: bool,
        call: &'static str,
    ) -> Looked<'static> {
        let method: &'static Method = match *method {
            Method::GET => &Method::GET,
            Method::DELETE => &Method::DELETE,
            _ => &Method::POST,
        };
        Looked {
            mcp_endpoint,
            method,
            is_stateless,
            call: (!call.is_empty()).then_some(call),
        }
    }

    fn only(era: Era) -> Eras {
        Eras::NONE.and(era)
    }

    #[test]
    fn each_cell_has_its_way() {
        let stream = looked(McpEndpoint::Sse, &Method::GET, false, "");
        let begin = looked(McpEndpoint::Mcp, &Method::POST, false, "initialize");
        let call = looked(McpEndpoint::Mcp, &Method::POST, true, "tools/call");
        for (looked, spoken, expected) in [
            (stream, Era::Sessions, Way::OldStream(Back::Sessions)),
            (stream, Era::Stateless, Way::OldStream(Back::Stateless)),
            (begin, Era::HttpSse, Way::Begin(Back::HttpSse)),
            (begin, Era::Stateless, Way::Begin(Back::Stateless)),
            (call, Era::HttpSse, Way::Stateless(Back::HttpSse)),
            (call, Era::Sessions, Way::Stateless(Back::Sessions)),
        ] {
            assert_eq!(way(looked, only(spoken)), expected);
        }
    }

    #[test]
    fn what_begins_nothing_passes() {
        for looked in [
            looked(McpEndpoint::Mcp, &Method::POST, false, "tools/list"),
            looked(McpEndpoint::Mcp, &Method::GET, false, ""),
            looked(McpEndpoint::Mcp, &Method::DELETE, false, ""),
            looked(McpEndpoint::Messages, &Method::POST, false, "tools/list"),
        ] {
            assert_eq!(way(looked, only(Era::Stateless)), Way::Through);
        }
    }

    #[test]
    fn a_client_that_can_fall_back_is_let() {
        let habits = Habits::default();
        let spoken = Spoken::new(only(Era::Sessions), false);
        let who = |grant: &str| (grant.to_owned(), "b".to_owned());
        let now = Instant::now();
        let later = now + AT_ONCE;
        assert!(!habits.is_answered(who("c"), &spoken, now));
        // Two conversations begin at once.
        assert!(!habits.is_answered(who("c"), &spoken, now));
        habits.falls_back(&who("c"));
        assert!(!habits.is_answered(who("c"), &spoken, later));

        assert!(!habits.is_answered(who("d"), &spoken, now));
        assert!(habits.is_answered(who("d"), &spoken, later));
        assert!(habits.is_answered(who("d"), &spoken, later));

        let answering = Spoken::new(only(Era::Sessions), true);
        assert!(habits.is_answered(who("c"), &answering, now));
    }
}
