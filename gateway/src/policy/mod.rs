//! Whether a call may reach a backend. Pure: what is known about token, grant and message goes in,
//! a [`Permit`] or the reason against it comes out. Without a permit there is no exchange with a
//! backend: it takes one by value.
//!
//! Owns: the order of the questions and their answers. Not: reading the request (`proxy`),
//! signatures (`access_token`), what was revoked (the store's view).

use std::sync::Arc;
use std::time::Duration;

use crate::access_token::{Claims, LEEWAY, VerifiedToken};
use crate::clock::Timestamp;
use crate::protocol::mcp::Call;
use crate::protocol::resource::Resource;
use crate::protocol::scope;
use crate::reason::Reason;

/// A view of the revocations that is older than this decides nothing any more.
pub const VIEW_LIFETIME: Duration = Duration::from_secs(60);

/// What the revocation view says about a grant at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the grant was revoked.
    pub revoked: bool,
    /// Since when the store remembers; `None` while it was never reached.
    pub remembers_since: Option<Timestamp>,
    /// How long ago the view was last brought up to date.
    pub age: Duration,
}

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// 401: the client needs another token.
    #[error("{0}")]
    Invalid(Reason),
    /// 503: whether it was revoked can't be known.
    #[error("the revocation view is too old")]
    Unknown,
}

/// A token that counts here and now: signed by us, for this resource, within its lifetime, its
/// grant not revoked.
#[derive(Clone, Debug)]
pub struct AccessToken(Arc<VerifiedToken>);

impl AccessToken {
    /// Confirms a verified token for a resource.
    pub fn confirm(
        token: Arc<VerifiedToken>,
        resource: &Resource,
        standing: Standing,
        now: Timestamp,
    ) -> Result<Self, Rejection> {
        let claims = token.claims();
        if token.is_expired(now) {
            return Err(Rejection::Invalid(Reason::TokenExpired));
        }
        if claims.resource != *resource {
            return Err(Rejection::Invalid(Reason::TokenWrongAudience));
        }
        if standing.revoked {
            return Err(Rejection::Invalid(Reason::GrantRevoked));
        }
        let Some(since) = standing.remembers_since else {
            return Err(Rejection::Unknown);
        };
        if standing.age > VIEW_LIFETIME {
            return Err(Rejection::Unknown);
        }
        // A store that was emptied forgot its revocations: what is older than it may be revoked.
        if claims.issued + LEEWAY < since {
            return Err(Rejection::Invalid(Reason::TokenOlderThanStore));
        }
        Ok(Self(token))
    }

    /// What it says.
    pub fn claims(&self) -> &Claims {
        self.0.claims()
    }

    /// Its name in the log.
    pub fn id(&self) -> &str {
        self.0.id()
    }
}

/// Why a call is refused although the token counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token's scope does not cover MCP at all.
    #[error("the scope does not cover this")]
    Scope,
    /// The person did not allow this tool.
    #[error("the tool is not allowed")]
    Tool(String),
    /// A token for some tools only does not cover methods that are not known here: they may run
    /// tools in ways that are not known here either.
    #[error("the method is not allowed")]
    Method(String),
}

impl Refusal {
    /// For the log.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Scope => Reason::ScopeInsufficient,
            Self::Tool(_) | Self::Method(_) => Reason::ToolNotAllowed,
        }
    }
}

/// The right to one exchange with one backend. Made by [`decide`] only.
#[derive(Debug)]
pub struct Permit {
    token: AccessToken,
    calls: Vec<Call>,
}

impl Permit {
    /// On whose behalf.
    pub const fn token(&self) -> &AccessToken {
        &self.token
    }

    /// What for. Empty for a stream, a session's end, or a response of the client's.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Whether the exchange may be repeated after a broken connection.
    pub fn is_read_only(&self) -> bool {
        self.calls.iter().all(Call::is_read_only)
    }
}

/// Decides about the calls of one request. A batch passes as a whole or not at all.
pub fn decide(token: AccessToken, calls: Vec<Call>) -> Result<Permit, Refusal> {
    let claims = token.claims();
    if !claims.scope.contains(scope::MCP) {
        return Err(Refusal::Scope);
    }
    for call in &calls {
        if let Some(tool) = call.tool() {
            if !claims.tools.contains(tool) {
                return Err(Refusal::Tool(tool.to_owned()));
            }
        } else if !claims.tools.is_all() && !is_known(&call.method) {
            return Err(Refusal::Method(call.method.clone()));
        }
    }
    Ok(Permit { token, calls })
}

/// Methods of the protocol's revisions that run no tool.
fn is_known(method: &str) -> bool {
    matches!(
        method,
        "" | "initialize"
            | "ping"
            | "completion/complete"
            | "logging/setLevel"
            | "prompts/get"
            | "prompts/list"
            | "resources/list"
            | "resources/read"
            | "resources/subscribe"
            | "resources/templates/list"
            | "resources/unsubscribe"
            | "server/discover"
            | "subscriptions/listen"
            | "tasks/cancel"
            | "tasks/get"
            | "tasks/list"
            | "tasks/result"
            | "tasks/update"
            | "tools/list"
    ) || method.starts_with("notifications/")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use biscuit_auth::KeyPair;

    use super::*;
    use crate::access_token::{Keys, Tools, mint, verify};
    use crate::client::ClientId;
    use crate::grants::{GrantId, UserId};
    use crate::protocol::bearer::BearerToken;
    use crate::protocol::scope::Scope;

    const ISSUED: Timestamp = Timestamp::from_secs(10_000);
    const EXPIRES: Timestamp = Timestamp::from_secs(20_000);
    const GOOD: Standing = Standing {
        revoked: false,
        remembers_since: Some(Timestamp::from_secs(5_000)),
        age: Duration::from_secs(1),
    };

    fn resource() -> Resource {
        Resource::from_token("https://mcp.example.com/mcp")
    }

    fn verified(scope: &str, tools: Tools) -> Arc<VerifiedToken> {
        let keys = Keys::new(BTreeMap::from([(1, KeyPair::new())])).unwrap();
        let claims = Claims {
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            client: ClientId::new("c_1"),
            grant: GrantId::new("g_1"),
            resource: resource(),
            scope: Scope::parse(scope),
            tools,
            issued: ISSUED,
            expires: EXPIRES,
        };
        let minted = mint(&claims, &keys).unwrap();
        Arc::new(verify(&BearerToken::parse_token(&minted.token).unwrap(), &keys).unwrap())
    }

    fn token(scope: &str, tools: Tools) -> AccessToken {
        AccessToken::confirm(verified(scope, tools), &resource(), GOOD, ISSUED).unwrap()
    }

    fn call(method: &str, name: Option<&str>) -> Call {
        Call {
            method: method.to_owned(),
            name: name.map(str::to_owned),
            id: None,
        }
    }

    #[test]
    fn a_token_counts_only_here_only_now_and_only_until_it_is_revoked() {
        let confirm = |resource: &Resource, standing, now| {
            AccessToken::confirm(verified("mcp", Tools::All), resource, standing, now).err()
        };
        let invalid = |reason| Some(Rejection::Invalid(reason));
        let late = EXPIRES + LEEWAY;
        assert_eq!(confirm(&resource(), GOOD, late), None);
        assert_eq!(
            confirm(&resource(), GOOD, late + Duration::from_millis(1)),
            invalid(Reason::TokenExpired)
        );
        for other in [
            "https://mcp.example.com/mcp2",
            "https://mcp.example.com/mcp/",
            "https://mcp.example.com/MCP",
            "",
        ] {
            assert_eq!(
                confirm(&Resource::from_token(other), GOOD, ISSUED),
                invalid(Reason::TokenWrongAudience)
            );
        }
        let revoked = Standing {
            revoked: true,
            ..GOOD
        };
        assert_eq!(
            confirm(&resource(), revoked, ISSUED),
            invalid(Reason::GrantRevoked)
        );
    }

    #[test]
    fn a_store_that_forgot_its_revocations_makes_older_tokens_void() {
        let born = |at| Standing {
            remembers_since: Some(at),
            ..GOOD
        };
        let confirm = |standing| {
            AccessToken::confirm(verified("mcp", Tools::All), &resource(), standing, ISSUED).err()
        };
        assert_eq!(confirm(born(ISSUED + LEEWAY)), None);
        assert_eq!(
            confirm(born(ISSUED + LEEWAY + Duration::from_millis(1))),
            Some(Rejection::Invalid(Reason::TokenOlderThanStore))
        );
    }

    #[test]
    fn what_cannot_be_known_is_a_fault_of_ours_and_no_bad_token() {
        let confirm = |standing| {
            AccessToken::confirm(verified("mcp", Tools::All), &resource(), standing, ISSUED).err()
        };
        assert_eq!(
            confirm(Standing {
                age: VIEW_LIFETIME,
                ..GOOD
            }),
            None
        );
        let old = Standing {
            age: VIEW_LIFETIME + Duration::from_millis(1),
            ..GOOD
        };
        assert_eq!(confirm(old), Some(Rejection::Unknown));
        let never = Standing {
            remembers_since: None,
            ..GOOD
        };
        assert_eq!(confirm(never), Some(Rejection::Unknown));
        // What is known to be revoked stays so.
        let revoked = Standing {
            revoked: true,
            ..old
        };
        assert_eq!(
            confirm(revoked),
            Some(Rejection::Invalid(Reason::GrantRevoked))
        );
    }

    #[test]
    fn a_tool_that_was_not_allowed_refuses_the_whole_batch() {
        let only = Tools::Only(BTreeSet::from(["search".to_owned()]));
        let search = call("tools/call", Some("search"));
        let fetch = call("tools/call", Some("fetch"));
        assert!(decide(token("mcp", only.clone()), vec![search.clone()]).is_ok());
        assert_eq!(
            decide(token("mcp", only.clone()), vec![search, fetch.clone()]).err(),
            Some(Refusal::Tool("fetch".to_owned()))
        );
        assert!(decide(token("mcp", Tools::All), vec![fetch]).is_ok());
        let unknown = call("tools/call_many", Some("search"));
        assert_eq!(
            decide(token("mcp", only.clone()), vec![unknown.clone()]).err(),
            Some(Refusal::Method("tools/call_many".to_owned()))
        );
        assert!(decide(token("mcp", Tools::All), vec![unknown]).is_ok());
        assert!(
            decide(
                token("mcp", only),
                vec![call("notifications/cancelled", None)]
            )
            .is_ok()
        );
    }

    #[test]
    fn without_the_scope_nothing_is_allowed() {
        for scope in ["", "other", "MCP", "mcp2"] {
            assert_eq!(
                decide(token(scope, Tools::All), vec![call("ping", None)]).err(),
                Some(Refusal::Scope)
            );
        }
    }
}
