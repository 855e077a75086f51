//! The closed form, and its meaning held against the library's own engine.

mod engine;

pub(in crate::access_token) use engine::asked;

use std::collections::BTreeMap;
use std::time::Duration;

use biscuit_auth::builder::{BlockBuilder, Fact, Term as FactTerm, boolean, int, string};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit, KeyPair};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::*;
use crate::access_token::{Claims, Keys, TokenError, Tools, VerifiedToken, mint, verify};
use crate::client::ClientId;
use crate::grants::{GrantId, UserId};
use crate::protocol::bearer::BearerToken;
use crate::protocol::resource::Resource;
use crate::protocol::scope::Scope;
use mcp_protocol::calls::Call;
use mcp_protocol::jsonrpc::{self, Keep};

/// Long before the token of these tests ends.
const NOW: u64 = 10_000;

pub(in crate::access_token) struct Issuer {
    pub(in crate::access_token) keys: Keys,
}

impl Issuer {
    pub(in crate::access_token) fn new() -> Self {
        Self {
            keys: Keys::new(BTreeMap::from([(1, KeyPair::new())])).unwrap(),
        }
    }

    pub(in crate::access_token) fn token(&self, tools: Tools) -> Biscuit {
        let claims = Claims {
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            groups: Vec::new(),
            client: ClientId::new("c_1"),
            grant: GrantId::new("g_1"),
            resource: Resource::from_token("https://mcp.example.com/mcp"),
            scope: Scope::parse("mcp"),
            tools,
            issued: Timestamp::from_secs(1_000),
            expires: Timestamp::from_secs(1_000_000),
        };
        let minted = mint(&claims, &self.keys).unwrap();
        Biscuit::from_base64(&minted.token, self.keys.signing().unwrap().1.public()).unwrap()
    }

    pub(in crate::access_token) fn verify(
        &self,
        token: &Biscuit,
    ) -> Result<VerifiedToken, TokenError> {
        let text = token.to_base64().unwrap();
        verify(&BearerToken::parse_token(&text).unwrap(), &self.keys)
    }
}

pub(in crate::access_token) fn append(token: &Biscuit, code: &str) -> Biscuit {
    token
        .append(
            BlockBuilder::new()
                .code(code)
                .unwrap_or_else(|error| panic!("{code}: {error}")),
        )
        .unwrap()
}

fn checks_of(code: &str) -> Result<Vec<Check>, TokenError> {
    let issuer = Issuer::new();
    let token = append(&issuer.token(Tools::All), code);
    issuer
        .verify(&token)
        .map(|token| token.attenuation().checks().to_vec())
}

#[test]
fn the_documented_forms_are_taken_in_every_spelling_that_libraries_have() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let argument = |path: &str, is| Check::Argument {
        path: path.to_owned(),
        is,
    };
    let text = |text: &str| Constant::Text(text.to_owned());
    for (code, check) in [
        ("check if tool(\"search\")", Check::Tool(names(&["search"]))),
        (
            "check if tool($t), {\"search\", \"fetch\"}.contains($t)",
            Check::Tool(names(&["search", "fetch"])),
        ),
        (
            "check if tool($tool), [\"search\", \"fetch\"].contains($tool)",
            Check::Tool(names(&["search", "fetch"])),
        ),
        (
            "check if backend(\"notes\")",
            Check::Backend(names(&["notes"])),
        ),
        (
            "check if time($t), $t < 1970-01-01T02:46:40Z",
            Check::Before(10_000),
        ),
        (
            "check if time($t), $t <= 1970-01-01T02:46:40Z",
            Check::Before(10_001),
        ),
        ("check if read_only(true)", Check::ReadOnly),
        (
            "check if limit(\"calls\", 100)",
            Check::Limit(BudgetKind::InAll, 100),
        ),
        (
            "check if limit(\"calls_per_day\", 0)",
            Check::Limit(BudgetKind::Daily, 0),
        ),
        (
            "check if argument(\"path\", $v), $v.starts_with(\"/public/\")",
            argument("path", Match::StartsWith("/public/".to_owned())),
        ),
        (
            "check if argument(\"dry_run\", true)",
            argument("dry_run", Match::OneOf([Constant::Bool(true)].into())),
        ),
        (
            "check if argument(\"filter.owner\", $v), [\"me\", \"us\"].contains($v)",
            argument(
                "filter.owner",
                Match::OneOf([text("me"), text("us")].into()),
            ),
        ),
        (
            "check if argument(\"limit\", $v), {1, 2}.contains($v)",
            argument(
                "limit",
                Match::OneOf([Constant::Integer(1), Constant::Integer(2)].into()),
            ),
        ),
    ] {
        assert_eq!(
            checks_of(code).as_deref(),
            Ok(&[check.clone()][..]),
            "{code}"
        );
        // What it prints as says the same.
        assert_eq!(checks_of(&check.to_string()), Ok(vec![check]), "{code}");
    }
}

#[test]
fn anything_else_is_refused() {
    for code in [
        "tool(\"search\")",
        "check if true",
        "check if tool($t)",
        "check if tool($t), $t == \"search\"",
        "check if tool($t), $t.starts_with(\"s\")",
        "check if tool($t), $t.matches(\"s.*\")",
        "check if tool($t), {\"a\"}.contains($u), user($u)",
        "check if tool(\"a\"), tool(\"b\")",
        "check if tool(\"a\") or tool(\"b\")",
        "check if tool(\"a\", \"b\")",
        "check if tool(1)",
        "check if tool($t), {1}.contains($t)",
        "check if tool($t), !{\"a\"}.contains($t)",
        "check if tool($t), {\"a\"}.contains($t), {\"b\"}.contains($t)",
        "check if tool($t), {\"a\"}.contains($t) || true",
        "check if tool($t), ({\"a\"}).contains($t)",
        "check if tool($t), {\"a\"}.union({\"b\"}).contains($t)",
        "check all tool($t), {\"a\"}.contains($t)",
        "reject if tool(\"a\")",
        "check if tool(\"a\") trusting previous",
        "check if tool(\"a\") trusting authority",
        "check if tool(\"a\"); x(1)",
        "check if tool(\"a\"); x($a) <- y($a)",
        "check if granted(\"a\")",
        "check if user(\"u_1\")",
        "check if time($t), $t > 1970-01-01T02:46:40Z",
        "check if time($t), 1970-01-01T02:46:40Z > $t",
        "check if time($t), $t < 10000",
        "check if time(1970-01-01T02:46:40Z)",
        "check if limit(\"bytes\", 1)",
        "check if limit(\"calls\", -1)",
        "check if limit(\"calls\", 9223372036854775807)",
        "check if limit(\"calls\", \"1\")",
        "check if limit(\"calls\", $n), $n <= 1",
        "check if limit($k, 1)",
        "check if limit(\"calls\")",
        "check if read_only(false)",
        "check if read_only($r)",
        "check if argument(\"path\", $v)",
        "check if argument($p, \"/public/\")",
        "check if argument($p, $p)",
        "check if argument(\"\", \"x\")",
        "check if argument(\"path\", $v), $v.ends_with(\"x\")",
        "check if argument(\"path\", $v), $v.starts_with($v)",
        "check if argument(\"path\", $v), \"/public/\".starts_with($v)",
        "check if argument(\"path\", $v), [hex:00].contains($v)",
        "check if argument(\"path\", null)",
        "check if argument(\"path\", {1: 2})",
        "check if argument(\"path\", $v), [[1]].contains($v)",
        "check if argument(\"path\", $v), [].contains($v)",
        "check if argument(\"path\", $v), {,}.contains($v)",
    ] {
        assert_eq!(checks_of(code), Err(TokenError::Attenuation), "{code}");
    }
}

#[test]
fn sizes_and_counts_have_their_bounds() {
    let many = |count: usize| {
        let names: Vec<String> = (0..count).map(|at| format!("\"t{at}\"")).collect();
        format!("check if tool($t), {{{}}}.contains($t)", names.join(", "))
    };
    assert!(checks_of(&many(64)).is_ok());
    assert!(checks_of(&many(65)).is_err());
    assert!(checks_of(&"check if tool(\"a\");".repeat(16)).is_ok());
    assert!(checks_of(&"check if tool(\"a\");".repeat(17)).is_err());
    assert!(checks_of(&format!("check if tool(\"{}\")", "a".repeat(256))).is_ok());
    assert!(checks_of(&format!("check if tool(\"{}\")", "a".repeat(257))).is_err());

    let issuer = Issuer::new();
    let mut token = issuer.token(Tools::All);
    for _ in 0..8 {
        token = append(&token, "check if tool(\"a\")");
        assert!(issuer.verify(&token).is_ok());
    }
    assert_eq!(issuer.verify(&token).unwrap().ids().len(), 9);
    token = append(&token, "check if tool(\"a\")");
    assert_eq!(issuer.verify(&token), Err(TokenError::Attenuation));
}

#[test]
fn a_sealed_token_counts_as_the_unsealed_one_does() {
    let issuer = Issuer::new();
    let token = append(&issuer.token(Tools::All), "check if tool(\"a\")");
    let (open, sealed) = (issuer.verify(&token), issuer.verify(&token.seal().unwrap()));
    assert!(open.is_ok());
    assert_eq!(open, sealed);
}

#[test]
fn a_budget_is_that_of_its_block_whatever_is_made_from_it() {
    let issuer = Issuer::new();
    let parent = append(
        &issuer.token(Tools::All),
        "check if limit(\"calls\", 9); check if limit(\"calls\", 5)",
    );
    let until = issuer.verify(&parent).unwrap().longest_ends();
    let budgets = |token: &Biscuit| {
        let verified = issuer.verify(token).unwrap();
        assert_eq!(verified.longest_ends(), until, "it is remembered as long");
        let budgets = verified.attenuation().budgets().iter();
        let budgets = budgets.map(|budget| (budget.block.clone(), budget.meter(until).quota));
        budgets.collect::<Vec<_>>()
    };
    let own = issuer.verify(&parent).unwrap().ids()[1].clone();
    let of_parent = [(own.clone(), Quota::Total(5, until))];
    assert_eq!(budgets(&parent), of_parent);
    let child = append(
        &parent,
        "check if tool(\"search\"); check if time($t), $t < 1970-01-02T00:00:00Z",
    );
    assert_eq!(budgets(&child), of_parent, "children share it");
    let stingy = append(&child, "check if limit(\"calls\", 1)");
    let ids = issuer.verify(&stingy).unwrap().ids().to_vec();
    assert_eq!(
        budgets(&stingy)[1],
        (ids[3].clone(), Quota::Total(1, until)),
        "and may have a smaller one of their own"
    );
    // Who holds the parent of the budget may make another; it is another one.
    let other = append(&issuer.token(Tools::All), "check if limit(\"calls\", 5)");
    assert_ne!(budgets(&other)[0].0, own);
}

/// Each is kept and asked for by itself, and anybody can append more of them.
#[test]
fn a_token_carries_two_budgets_at_most() {
    let issuer = Issuer::new();
    let both = append(
        &issuer.token(Tools::All),
        "check if limit(\"calls\", 9); check if limit(\"calls_per_day\", 3)",
    );
    assert_eq!(
        issuer.verify(&both).unwrap().attenuation().budgets().len(),
        2
    );
    let text = BearerToken::parse_token(&both.to_base64().unwrap()).unwrap();
    let narrow = |checks: &[Check]| crate::access_token::attenuate(&text, checks, false);
    for kind in [BudgetKind::InAll, BudgetKind::Daily] {
        let more = append(&both, &format!("check if limit(\"{}\", 1)", kind.name()));
        assert_eq!(issuer.verify(&more).unwrap_err(), TokenError::Attenuation);
        let refused = narrow(&[Check::Limit(kind, 1)]).unwrap_err();
        assert!(refused.to_string().contains("two budgets"), "{refused}");
    }
    narrow(&[Check::ReadOnly]).unwrap();
}
