//! What a decision of a policy costs: `cargo run --release --example policy_cost [FILE…]`, by default
//! over the policies of conf/. Prints microseconds a decision, over 10,000 of them each.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use gateway::clock::Clock;
use gateway::policy::rules::{Asked, Ground, Rules, Surroundings};
use gateway::protocol::jsonrpc::judge_arguments;
use gateway::protocol::tool_definition::Labels;

const DECISIONS: usize = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        for entry in std::fs::read_dir("conf/policies")? {
            files.push(entry?.path().display().to_string());
        }
        files.sort();
    }
    let arguments = judge_arguments(
        r#"{"path":"/public/notes/a.txt","recursive":false,"amount":7,"to":["a@example.com"],"q":"words"}"#,
    )?;
    let labels = Labels {
        read_only: Some(true),
        destructive: None,
    };
    let around = Surroundings {
        user: "alice",
        client: "our-editor",
        grant: "g_0123456789",
        scopes: &["mcp"],
        backend: "documents",
        resource: "https://mcp.example.com/mcp",
        approvals: &[],
        address: Some("192.0.2.7".parse()?),
        protocol_version: Some("2025-11-25"),
        now: Clock.now(),
    };
    println!("microseconds: evaluated | as calls ask it | as lists ask it");
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let rules = Rules::read(&file, &text, ground()?).map_err(|faults| format!("{faults:?}"))?;
        let asked = Asked::tool("read_file", labels, Some(&arguments));
        let cost = |decide: &dyn Fn() -> bool| {
            let start = Instant::now();
            let allowed = (0..DECISIONS).filter(|_| decide()).count();
            let each = start.elapsed().as_secs_f64() * 1e6 / DECISIONS as f64;
            (each, allowed)
        };
        let (evaluated, allowed) = cost(&|| rules.judge(&around, &asked).is_allowed());
        let (called, _) = cost(&|| rules.judge_for("token", &around, &asked).is_allowed());
        let (listed, _) = cost(&|| rules.may_call("token", &around, &asked));
        println!("{evaluated:8.1} {called:8.1} {listed:8.1}  {file} ({allowed} allowed)");
    }
    Ok(())
}

fn ground() -> Result<Ground, Box<dyn std::error::Error>> {
    let names = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    Ok(Ground {
        groups: BTreeMap::from([("staff".to_owned(), names(&["alice", "bob"]))]),
        networks: BTreeMap::from([("office".to_owned(), vec!["192.0.2.0/24".parse()?])]),
        backends: names(&["documents"]),
        approvers: names(&["ops"]),
        clients: names(&["our-editor"]),
        utc_offset: 0,
    })
}
