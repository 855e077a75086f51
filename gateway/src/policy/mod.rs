//! Whether a call may reach a backend. Pure: what is known about token, grant and message goes in,
//! a [`Permit`] or the reason against it comes out. Without a permit there is no exchange with a
//! backend: it takes one by value.
//!
//! Owns: the order of the questions and their answers. Not: reading the request (`proxy`),
//! signatures (`access_token`), what was revoked (the store's view).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::access_token::{Claims, LEEWAY, Narrowing, ToolCall, Unmet, VerifiedToken};
use crate::clock::Timestamp;
use crate::protocol::mcp::Call;
use crate::protocol::resource::Resource;
use crate::protocol::scope;
use crate::reason::Reason;

/// A view of the revocations that is older than this decides nothing any more.
pub const VIEW_LIFETIME: Duration = Duration::from_secs(60);

/// What the revocation view says about a token at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the grant, or one of the token's blocks, was revoked.
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

/// Where a token is presented.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    /// The resource that it must have been minted for.
    pub resource: &'a Resource,
    /// The name of the backend behind it, which a narrowed token may have excluded.
    pub backend: &'a str,
}

/// A token that counts here and now: signed by us, for this resource, within its lifetime, its
/// grant not revoked.
#[derive(Clone, Debug)]
pub struct AccessToken(Arc<VerifiedToken>);

impl AccessToken {
    /// Confirms a verified token for a resource.
    pub fn confirm(
        token: Arc<VerifiedToken>,
        audience: Audience<'_>,
        standing: Standing,
        now: Timestamp,
    ) -> Result<Self, Rejection> {
        let claims = token.claims();
        if token.is_expired(now) {
            return Err(Rejection::Invalid(Reason::TokenExpired));
        }
        let narrowing = token.narrowing();
        if claims.resource != *audience.resource || !narrowing.allows_backend(audience.backend) {
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

    /// What its holders appended.
    pub fn narrowing(&self) -> &Narrowing {
        self.0.narrowing()
    }

    /// The token itself.
    pub const fn verified(&self) -> &Arc<VerifiedToken> {
        &self.0
    }

    /// Whether an approver has approved this tool, and still does.
    pub fn is_approved(&self, tool: &str, now: Timestamp) -> bool {
        let mut approvals = self.0.approvals().iter();
        approvals.any(|approval| approval.tool == tool && now < approval.until)
    }
}

/// What a decision needs to know besides token and calls.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: Timestamp,
    /// The tools that need an approval.
    pub approval_required: &'a BTreeSet<String>,
    /// The tools that say that they change nothing; asked for only where the token is narrowed to
    /// such.
    pub read_only_tools: &'a BTreeSet<String>,
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
    /// Whoever narrowed the token left this out.
    #[error("the token was narrowed: {0}")]
    Narrowed(Unmet),
    /// The tool needs an approval.
    #[error("the tool needs an approval")]
    Approval(String),
}

impl Refusal {
    /// For the log.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Scope => Reason::ScopeInsufficient,
            Self::Tool(_) | Self::Method(_) => Reason::ToolNotAllowed,
            Self::Narrowed(_) => Reason::TokenNarrowed,
            Self::Approval(_) => Reason::ApprovalMissing,
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
pub fn decide(
    token: AccessToken,
    calls: Vec<Call>,
    circumstances: Circumstances<'_>,
) -> Result<Permit, Refusal> {
    if !token.claims().scope.contains(scope::MCP) {
        return Err(Refusal::Scope);
    }
    for call in &calls {
        match call.tool() {
            Some(tool) => decide_tool(&token, call, tool, circumstances)?,
            None => decide_method(&token, call)?,
        }
    }
    Ok(Permit { token, calls })
}

fn decide_tool(
    token: &AccessToken,
    call: &Call,
    tool: &str,
    circumstances: Circumstances<'_>,
) -> Result<(), Refusal> {
    if !token.claims().tools.contains(tool) {
        return Err(Refusal::Tool(tool.to_owned()));
    }
    let asked = ToolCall {
        tool,
        read_only: circumstances.read_only_tools.contains(tool),
        arguments: call.arguments.as_ref(),
    };
    token
        .narrowing()
        .allows_call(&asked)
        .map_err(Refusal::Narrowed)?;
    let needs_approval = circumstances.approval_required.contains(tool);
    if needs_approval && !token.is_approved(tool, circumstances.now) {
        return Err(Refusal::Approval(tool.to_owned()));
    }
    Ok(())
}

fn decide_method(token: &AccessToken, call: &Call) -> Result<(), Refusal> {
    let method = call.method.as_str();
    if !token.claims().tools.is_all() && !is_known(method) {
        return Err(Refusal::Method(method.to_owned()));
    }
    match token
        .narrowing()
        .allows_method(is_opening(method), call.is_read_only())
    {
        true => Ok(()),
        false => Err(Refusal::Narrowed(Unmet("method"))),
    }
}

/// Methods that open or keep up a session, or list tools: without them no call would be possible.
fn is_opening(method: &str) -> bool {
    matches!(
        method,
        "initialize" | "logging/setLevel" | "ping" | "server/discover" | "tools/list"
    ) || method.starts_with("notifications/")
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
    use std::collections::BTreeMap;

    use biscuit_auth::builder::BlockBuilder;
    use biscuit_auth::{KeyPair, UnverifiedBiscuit};

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

    fn at(resource: &Resource) -> Audience<'_> {
        Audience {
            resource,
            backend: "notes",
        }
    }

    fn confirmed(token: Arc<VerifiedToken>) -> AccessToken {
        AccessToken::confirm(token, at(&resource()), GOOD, ISSUED).unwrap()
    }

    fn token(scope: &str, tools: Tools) -> AccessToken {
        confirmed(verified(scope, tools))
    }

    fn decide(token: AccessToken, calls: Vec<Call>) -> Result<Permit, Refusal> {
        let nothing = BTreeSet::new();
        super::decide(
            token,
            calls,
            Circumstances {
                now: ISSUED,
                approval_required: &nothing,
                read_only_tools: &nothing,
            },
        )
    }

    fn call(method: &str, name: Option<&str>) -> Call {
        Call {
            method: method.to_owned(),
            name: name.map(str::to_owned),
            id: None,
            arguments: None,
        }
    }

    #[test]
    fn a_token_counts_only_here_only_now_and_only_until_it_is_revoked() {
        let confirm = |resource: &Resource, standing, now| {
            AccessToken::confirm(verified("mcp", Tools::All), at(resource), standing, now).err()
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
            AccessToken::confirm(
                verified("mcp", Tools::All),
                at(&resource()),
                standing,
                ISSUED,
            )
            .err()
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
            AccessToken::confirm(
                verified("mcp", Tools::All),
                at(&resource()),
                standing,
                ISSUED,
            )
            .err()
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

    /// A token with blocks that its holder appended.
    fn narrowed(blocks: &[&str]) -> Arc<VerifiedToken> {
        let keys = Keys::new(BTreeMap::from([(1, KeyPair::new())])).unwrap();
        let claims = verified("mcp", Tools::All).claims().clone();
        let minted = mint(&claims, &keys).unwrap();
        let mut token = UnverifiedBiscuit::from_base64(&minted.token).unwrap();
        for block in blocks {
            token = token
                .append(BlockBuilder::new().code(block).unwrap())
                .unwrap();
        }
        let text = token.to_base64().unwrap();
        Arc::new(verify(&BearerToken::parse_token(&text).unwrap(), &keys).unwrap())
    }

    #[test]
    fn a_token_that_was_narrowed_elsewhere_or_to_an_earlier_end_does_not_count() {
        let confirm = |blocks: &[&str], now| {
            AccessToken::confirm(narrowed(blocks), at(&resource()), GOOD, now).err()
        };
        let invalid = |reason| Some(Rejection::Invalid(reason));
        assert_eq!(confirm(&["check if backend(\"notes\")"], ISSUED), None);
        assert_eq!(
            confirm(&["check if backend(\"files\")"], ISSUED),
            invalid(Reason::TokenWrongAudience)
        );
        // 15_000 seconds after the epoch.
        let early = ["check if time($t), $t < 1970-01-01T04:10:00Z"];
        let end = Timestamp::from_secs(15_000);
        assert_eq!(confirm(&early, end - Duration::from_millis(1)), None);
        assert_eq!(confirm(&early, end), invalid(Reason::TokenExpired));
    }

    #[test]
    fn a_token_narrowed_in_its_operations_can_use_no_method_of_unknown_effect() {
        let tools = || confirmed(narrowed(&["check if tool(\"search\")"]));
        let reads = || confirmed(narrowed(&["check if read_only(true)"]));
        let place = || confirmed(narrowed(&["check if backend(\"notes\")"]));
        for method in [
            "initialize",
            "ping",
            "tools/list",
            "notifications/cancelled",
        ] {
            for token in [tools(), reads(), place()] {
                assert!(decide(token, vec![call(method, None)]).is_ok(), "{method}");
            }
        }
        for method in ["resources/read", "prompts/get", "completion/complete"] {
            let refused = decide(tools(), vec![call(method, Some("x"))]).err();
            assert_eq!(
                refused,
                Some(Refusal::Narrowed(Unmet("method"))),
                "{method}"
            );
            assert!(decide(reads(), vec![call(method, Some("x"))]).is_ok());
            assert!(decide(place(), vec![call(method, Some("x"))]).is_ok());
        }
        for method in [
            "",
            "tasks/result",
            "subscriptions/listen",
            "tools/call_many",
        ] {
            for token in [tools(), reads()] {
                assert!(decide(token, vec![call(method, None)]).is_err(), "{method}");
            }
        }
    }

    #[test]
    fn a_tool_that_needs_an_approval_is_refused_without_one() {
        let required = BTreeSet::from(["deploy".to_owned()]);
        let nothing = BTreeSet::new();
        let circumstances = Circumstances {
            now: ISSUED,
            approval_required: &required,
            read_only_tools: &nothing,
        };
        let ask = |tool: &str| {
            let calls = vec![call("tools/call", Some(tool))];
            super::decide(token("mcp", Tools::All), calls, circumstances).err()
        };
        assert_eq!(ask("deploy"), Some(Refusal::Approval("deploy".to_owned())));
        assert_eq!(ask("search"), None);
    }
}
