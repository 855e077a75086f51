//! What a decision of the policies in conf/ costs, compiled and by the reference:
//! `cargo run --release -p gateway-core --example decision_cost`. Prints nanoseconds and allocations a
//! decision, and how many statements are not compiled.
//!
//! What a decision of a policy of your own costs is told by the gateway's example `policy_cost`.

// The only way to count allocations.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gateway_core::access_token::Approval;
use gateway_core::clock::Timestamp;
use gateway_core::policy::rules::{
    Decision, GroupMembers, PolicyEnvironment, RequestedAction, Rules, Surroundings,
};
use mcp_protocol::jsonrpc::judge_arguments;
use mcp_protocol::tool_definition::Labels;

const DECISIONS: u32 = 20_000;
const ROUNDS: usize = 7;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A policy of conf/policies, and calls that ask for what it is about.
const CALLS: &[(&str, &str, &str)] = &[
    ("staff", "read_file", r#"{"path":"/public/a"}"#),
    ("staff", "erase", r#"{"path":"/public/a"}"#),
    ("not-at-night", "read_file", r#"{"path":"/public/a"}"#),
    ("approval", "deploy", r#"{"version":"1.2.3"}"#),
    (
        "one-folder",
        "read_file",
        r#"{"path":"/public/notes/a.txt"}"#,
    ),
    ("one-folder", "read_file", r#"{"path":"/secret/a.txt"}"#),
    (
        "arguments",
        "read_file",
        r#"{"path":"/public/a","q":"words"}"#,
    ),
    ("arguments", "erase", r#"{"path":"/a","recursive":false}"#),
    ("arguments", "pay", r#"{"to":"bob","amount":7}"#),
    (
        "arguments",
        "send_mail",
        r#"{"to":["a@example.com","b@example.com"],"text":"hello"}"#,
    ),
    ("arguments", "pay", r#"{"to":"bob","amount":"7"}"#),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let approvals = [Approval {
        tool: "deploy".to_owned(),
        approver: "ops".to_owned(),
        until: Timestamp::from_secs(1_900_000_000),
    }];
    let around = Surroundings {
        user: "alice",
        is_service: false,
        groups: &[],
        client: "our-editor",
        grant: "g_0123456789",
        scopes: &["mcp"],
        backend: "documents",
        resource: "https://mcp.example.com/mcp",
        approvals: &approvals,
        address: Some("192.0.2.7".parse()?),
        protocol_version: Some("2025-11-25"),
        calls_today: Some(0),
        // Tuesday, 2026-11-24, 12:00:00 UTC.
        now: Timestamp::from_secs(1_795_521_600),
    };
    println!("compiled: ns allocations, reference: ns allocations");
    for (policy, tool, arguments) in CALLS {
        let file = format!("conf/policies/{policy}.biscuit");
        let rules = read(&file)?;
        let arguments = judge_arguments(arguments)?;
        let asked = RequestedAction::tool(tool, Labels::default(), Some(&arguments));
        let (time, allocations, decision) = cost(|| rules.judge(&around, &asked));
        let not_compiled = rules.not_compiled().len();
        let reference = rules.by_reference();
        let (of_reference, its_allocations, other) = cost(|| reference.judge(&around, &asked));
        assert_eq!(decision, other, "{policy} {tool}");
        println!(
            "{time:9.0} {allocations:11.1} {of_reference:12.0} {its_allocations:11.1}  {policy} {tool} \
             ({:?}; {not_compiled} statements not compiled)",
            decision.effect
        );
    }
    Ok(())
}

/// Of the fastest round, because others run beside it; and what was decided.
fn cost(decide: impl Fn() -> Decision) -> (f64, f64, Decision) {
    let mut best = f64::INFINITY;
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..DECISIONS {
            std::hint::black_box(decide());
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(DECISIONS));
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let each = allocations as f64 / (f64::from(DECISIONS) * ROUNDS as f64);
    (best, each, decide())
}

fn read(file: &str) -> Result<Rules, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(file)?;
    let names = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    let environment = PolicyEnvironment {
        groups: BTreeMap::from([("staff".to_owned(), GroupMembers::from(["alice", "bob"]))]),
        networks: BTreeMap::from([("office".to_owned(), vec!["192.0.2.0/24".parse()?])]),
        backends: names(&["documents"]),
        approvers: names(&["ops"]),
        clients: names(&["our-editor"]),
        utc_offset: 0,
    };
    let rules = Rules::read(file, &text, environment);
    rules.map_err(|faults| format!("{file}: {faults:?}").into())
}
