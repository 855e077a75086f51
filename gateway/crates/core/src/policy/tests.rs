mod approvals;
mod narrowed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use biscuit_auth::builder::BlockBuilder;
use biscuit_auth::{KeyPair, UnverifiedBiscuit};

use super::rules::{RequestedAction, Rules, Surroundings};
use super::*;
use crate::access_token::{
    Approver, Claims, FailedCheck, Keys, LEEWAY, Tools, VerifiedToken, approve, mint, verify,
};
use crate::client::ClientId;
use crate::clock::Timestamp;
use crate::grants::{GrantId, NotAllowed, Pin, ToolState, UserId};
use crate::protocol::bearer::BearerToken;
use crate::protocol::resource::Resource;
use crate::protocol::scope::Scope;
use crate::reason::Reason;
use mcp_protocol::calls::{Belonging, Call};

static MCP_ALONE: std::sync::LazyLock<Arc<Scopes>> = std::sync::LazyLock::new(Arc::default);

pub(super) const ISSUED: Timestamp = Timestamp::from_secs(10_000);
const EXPIRES: Timestamp = Timestamp::from_secs(20_000);
const GOOD: RevocationStatus = RevocationStatus {
    revoked: false,
    remembers_since: Some(Timestamp::from_secs(5_000)),
    age: Duration::from_secs(1),
    fault: None,
};

fn resource() -> Resource {
    Resource::from_token("https://mcp.example.com/mcp")
}

fn verified(scope: &str, tools: Tools) -> Arc<VerifiedToken> {
    let keys = Keys::new(BTreeMap::from([(1, KeyPair::new())])).unwrap();
    let claims = Claims {
        user: UserId::new("u_1"),
        user_name: "alice".to_owned(),
        groups: Vec::new(),
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

/// Everything, with an approval of these tools that is good for a minute.
pub(super) fn approved(tools: &[&str]) -> AccessToken {
    let (approver, pair) = (KeyPair::new(), KeyPair::new());
    let keys = Keys::new(BTreeMap::from([(1, pair)])).unwrap();
    let keys = keys.with_approvers(vec![Approver {
        name: "release team".to_owned(),
        key: approver.public(),
    }]);
    let minted = mint(verified("mcp", Tools::All).claims(), &keys).unwrap();
    let minted = BearerToken::parse_token(&minted.token).unwrap();
    let tools: Vec<String> = tools.iter().map(|tool| (*tool).to_owned()).collect();
    let until = Timestamp::from_secs(ISSUED.secs() + 60);
    let signed = approve(&minted, &approver, &tools, until).unwrap();
    let signed = BearerToken::parse_token(&signed).unwrap();
    confirmed(Arc::new(verify(&signed, &keys).unwrap()))
}

fn at(resource: &Resource) -> Audience<'_> {
    Audience {
        resource,
        backend: "notes",
        members: &[],
        scopes: &MCP_ALONE,
    }
}

fn confirmed(token: Arc<VerifiedToken>) -> AccessToken {
    AccessToken::confirm(token, at(&resource()), GOOD, ISSUED).unwrap()
}

pub(super) fn token(scope: &str, tools: Tools) -> AccessToken {
    confirmed(verified(scope, tools))
}

fn decide(token: AccessToken, calls: Vec<Call>) -> Result<Permit, Refusal> {
    decide_by(token, calls, ToolState::Unknown).map_err(|refused| refused.refusal)
}

fn decide_by(token: AccessToken, calls: Vec<Call>, current: ToolState) -> Result<Permit, Refused> {
    let nothing = BTreeSet::new();
    let tools = calls.iter().filter_map(Call::tool);
    let tool_states: Vec<_> = tools.map(|tool| (tool.to_owned(), current)).collect();
    super::decide(
        token,
        calls,
        DecisionInput {
            now: ISSUED,
            approval_required: &nothing,
            read_only_tools: Some(&nothing),
            tool_states: &tool_states,
            doubled: None,
            policy: None,
        },
    )
}

fn call(method: &str, name: Option<&str>) -> Call {
    Call {
        method: method.to_owned(),
        name: name.map(str::to_owned),
        id: None,
        arguments: None,
        carries_result: false,
        belongs_to: None,
        resources: Vec::new(),
    }
}

#[test]
fn a_token_counts_only_here_only_now_and_only_until_it_is_revoked() {
    let confirm = |resource: &Resource, status, now| {
        AccessToken::confirm(verified("mcp", Tools::All), at(resource), status, now).err()
    };
    let invalid = |reason| Some(TokenRejection::Invalid(reason));
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
    let revoked = RevocationStatus {
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
    let born = |at| RevocationStatus {
        remembers_since: Some(at),
        ..GOOD
    };
    let confirm = |status| {
        AccessToken::confirm(verified("mcp", Tools::All), at(&resource()), status, ISSUED).err()
    };
    assert_eq!(confirm(born(ISSUED)), None);
    assert_eq!(
        confirm(born(ISSUED + Duration::from_millis(1))),
        Some(TokenRejection::Invalid(Reason::TokenOlderThanStore))
    );
}

#[test]
fn what_cannot_be_known_is_a_fault_of_ours_and_no_bad_token() {
    let confirm = |status| {
        AccessToken::confirm(verified("mcp", Tools::All), at(&resource()), status, ISSUED).err()
    };
    assert_eq!(
        confirm(RevocationStatus {
            age: VIEW_LIFETIME,
            ..GOOD
        }),
        None
    );
    let old = RevocationStatus {
        age: VIEW_LIFETIME + Duration::from_millis(1),
        ..GOOD
    };
    assert_eq!(
        confirm(old),
        Some(TokenRejection::Unknown(Reason::StoreUnavailable))
    );
    let never = RevocationStatus {
        remembers_since: None,
        ..GOOD
    };
    assert_eq!(
        confirm(never),
        Some(TokenRejection::Unknown(Reason::StoreUnavailable))
    );
    // A store that answers what can't be read is no store that does not answer.
    for status in [old, never] {
        let status = RevocationStatus {
            fault: Some(Reason::RecordUnreadable),
            ..status
        };
        let expected = TokenRejection::Unknown(Reason::RecordUnreadable);
        assert_eq!(confirm(status), Some(expected));
    }
    let young = RevocationStatus {
        fault: Some(Reason::RecordUnreadable),
        ..GOOD
    };
    assert_eq!(confirm(young), None);
    // What is known to be revoked stays so.
    let revoked = RevocationStatus {
        revoked: true,
        ..old
    };
    assert_eq!(
        confirm(revoked),
        Some(TokenRejection::Invalid(Reason::GrantRevoked))
    );
}

fn decided(token: AccessToken, calls: &[Call], current: ToolState) -> Result<(), Refusal> {
    match decide_by(token, calls.to_vec(), current) {
        Ok(permit) => {
            assert_eq!(permit.calls(), calls);
            Ok(())
        }
        Err(refused) => {
            assert_eq!(refused.calls, calls);
            Err(refused.refusal)
        }
    }
}

#[test]
fn a_tool_that_was_not_allowed_refuses_the_whole_batch() {
    let pin = Pin::new([1; 8]);
    let here = ToolState::Defined(pin);
    let pinned = Tools::Pinned(BTreeMap::from([("search".to_owned(), pin)]));
    let only = Tools::Only(BTreeSet::from(["search".to_owned()]));
    let search = call("tools/call", Some("search"));
    let fetch = call("tools/call", Some("fetch"));
    for tools in [&pinned, &only] {
        let decided = |calls: &[Call]| decided(token("mcp", tools.clone()), calls, here);
        assert_eq!(decided(std::slice::from_ref(&search)), Ok(()));
        assert_eq!(
            decided(&[search.clone(), fetch.clone()]),
            Err(Refusal::Tool("fetch".to_owned(), NotAllowed::Never))
        );
    }
    assert_eq!(
        decided(token("mcp", Tools::All), &[fetch], ToolState::Unknown),
        Ok(())
    );
    for (current, why) in [
        (ToolState::Defined(Pin::new([2; 8])), NotAllowed::Changed),
        (ToolState::Gone, NotAllowed::Changed),
        (ToolState::Unknown, NotAllowed::Unknown),
    ] {
        let token = token("mcp", pinned.clone());
        assert_eq!(
            decided(token, std::slice::from_ref(&search), current),
            Err(Refusal::Tool("search".to_owned(), why))
        );
    }
}

#[test]
fn chosen_tools_are_no_resources_prompts_tasks_or_unasked_answers() {
    let only = Tools::Only(BTreeSet::from(["search".to_owned()]));
    let decided = |tools: &Tools, call: &Call| {
        decided(
            token("mcp", tools.clone()),
            std::slice::from_ref(call),
            ToolState::Unknown,
        )
    };
    for method in [
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "resources/subscribe",
        "prompts/list",
        "prompts/get",
        "completion/complete",
        "tasks/get",
        "tasks/result",
        "tasks/list",
        "subscriptions/listen",
        "tools/call_many",
        "tools/List",
        "notifications/anything",
        "notifications/resources/updated",
        "x",
    ] {
        let asked = call(method, Some("search"));
        assert_eq!(
            decided(&only, &asked),
            Err(Refusal::Method(method.to_owned()))
        );
        assert_eq!(decided(&Tools::All, &asked), Ok(()));
    }
    for method in [
        "initialize",
        "server/discover",
        "ping",
        "tools/list",
        "logging/setLevel",
        "notifications/initialized",
        "notifications/cancelled",
    ] {
        assert_eq!(decided(&only, &call(method, None)), Ok(()), "{method}");
    }
    let pong = call("", None);
    let sampled = Call {
        carries_result: true,
        ..pong.clone()
    };
    for unasked in [&pong, &sampled] {
        assert_eq!(decided(&only, unasked), Err(Refusal::Answer));
        assert_eq!(decided(&Tools::All, unasked), Ok(()));
    }
    let asked = Call {
        belongs_to: Some(Belonging::Question),
        ..sampled
    };
    assert_eq!(decided(&only, &asked), Ok(()));
}

#[test]
fn what_belongs_to_a_chosen_tool_is_allowed_as_the_tool_is() {
    let pin = Pin::new([1; 8]);
    let tools = Tools::Pinned(BTreeMap::from([("search".to_owned(), pin)]));
    let of = |tool: &str| Call {
        belongs_to: Some(Belonging::Tool(tool.to_owned())),
        ..call("tasks/get", None)
    };
    let decided = |tool: &str, current| {
        let calls = vec![of(tool)];
        let nothing = BTreeSet::new();
        let input = DecisionInput {
            now: ISSUED,
            approval_required: &nothing,
            read_only_tools: Some(&nothing),
            tool_states: &[("search".to_owned(), current)],
            doubled: None,
            policy: None,
        };
        super::decide(token("mcp", tools.clone()), calls, input).is_ok()
    };
    assert!(decided("search", ToolState::Defined(pin)));
    assert!(!decided("search", ToolState::Defined(Pin::new([2; 8]))));
    assert!(!decided("search", ToolState::Unknown));
    assert!(!decided("fetch", ToolState::Defined(pin)));
    let elsewhere = confirmed(narrowed(&["check if tool(\"fetch\")"]));
    assert!(decide(elsewhere, vec![of("search")]).is_err());
    let here = confirmed(narrowed(&["check if tool(\"search\")"]));
    assert!(decide(here, vec![of("search")]).is_ok());
}

#[test]
fn without_the_scope_nothing_is_allowed() {
    for scope in ["", "other", "MCP", "mcp2"] {
        assert_eq!(
            decided(
                token(scope, Tools::All),
                &[call("ping", None)],
                ToolState::Unknown
            ),
            Err(Refusal::Scope(Scope::parse("mcp")))
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
fn a_backend_that_can_not_be_asked_says_nothing_definite_of_its_tools() {
    let reading = ScopeRule {
        tools: ScopedTools::ReadOnly,
        ..ScopeRule::named("read", "Read")
    };
    let writing = ScopeRule {
        tools: ScopedTools::Named(vec![Pattern::parse("write").unwrap()]),
        ..ScopeRule::named("write", "Write")
    };
    let table = ScopeTable::new(&[reading, writing], ["notes"]).unwrap();
    let resource = resource();
    let audience = Audience {
        scopes: table.at("notes"),
        ..at(&resource)
    };
    let token = |scope: &str, tools| {
        AccessToken::confirm(verified(scope, tools), audience, GOOD, ISSUED).unwrap()
    };
    let nothing = BTreeSet::new();
    let decided = |token: AccessToken, tool: &str, policy: Option<Question<'_>>| {
        let input = DecisionInput {
            now: ISSUED,
            approval_required: &nothing,
            read_only_tools: None,
            tool_states: &[],
            doubled: None,
            policy,
        };
        let calls = vec![Call {
            id: Some(mcp_protocol::Id::Number(1)),
            ..call("tools/call", Some(tool))
        }];
        super::decide(token, calls, input).map_err(|refused| refused.refusal)
    };
    let unknown = |tool: &str| Refusal::Tool(tool.to_owned(), NotAllowed::Unknown);
    let all = || token("read write", Tools::All);
    assert!(decided(all(), "write", None).is_ok());
    assert_eq!(decided(all(), "look", None).err(), Some(unknown("look")));
    let reads = || token("read", Tools::All);
    assert_eq!(
        decided(reads(), "write", None).err(),
        Some(unknown("write"))
    );
    let narrowed = confirmed(narrowed(&["check if tool(\"search\")"]));
    assert_eq!(
        decided(narrowed, "look", None).err(),
        Some(Refusal::Narrowed(FailedCheck("tool")))
    );
    for (text, expected) in [
        ("allow if unlabelled(true);", Some(unknown("write"))),
        ("allow if tool(\"write\");", None),
    ] {
        let rules = Rules::read("p", text, rules::PolicyEnvironment::default()).unwrap();
        let question = Question {
            rules: &rules,
            around: Surroundings {
                user: "alice",
                is_service: false,
                groups: &[],
                client: "c_1",
                grant: "g_1",
                scopes: &["write"],
                backend: "notes",
                resource: "https://mcp.example.com/mcp",
                approvals: &[],
                address: None,
                protocol_version: None,
                calls_today: None,
                now: ISSUED,
            },
            labels: None,
            without_message: RequestedAction::stream(),
        };
        assert_eq!(
            decided(all(), "write", Some(question)).err(),
            expected,
            "{text}"
        );
    }
}
