//! What a decision of a policy costs: `cargo run --release --example policy_cost -- --config FILE` for
//! the policy of a configuration, or `[POLICY…]` over the names that the policies of conf/ speak of;
//! by default those. Prints microseconds a decision, over 10,000 of them each, and what is not compiled.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use gateway::config;
use gateway::config::layers::Layers;
use gateway_core::clock::Clock;
use gateway_core::policy::rules::{
    GroupMembers, PolicyEnvironment, RequestedAction, Rules, Surroundings,
};
use mcp_protocol::jsonrpc::judge_arguments;
use mcp_protocol::tool_definition::Labels;

const DECISIONS: usize = 10_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let policies = match arguments.as_slice() {
        [flag, file] if flag == "--config" => vec![(file.clone(), configured(file)?)],
        [] => {
            let mut files = Vec::new();
            for entry in std::fs::read_dir("conf/policies")? {
                files.push(entry?.path().display().to_string());
            }
            files.sort();
            read(&files)?
        }
        files => read(files)?,
    };
    let arguments = judge_arguments(
        r#"{"path":"/public/notes/a.txt","recursive":false,"amount":7,"to":["a@example.com"],"q":"words"}"#,
    )?;
    let labels = Labels {
        read_only: Some(true),
        destructive: None,
    };
    let around = Surroundings {
        user: "alice",
        is_service: false,
        groups: &[],
        client: "our-editor",
        grant: "g_0123456789",
        scopes: &["mcp"],
        backend: "documents",
        resource: "https://mcp.example.com/mcp",
        approvals: &[],
        address: Some("192.0.2.7".parse()?),
        protocol_version: Some("2025-11-25"),
        calls_today: Some(0),
        now: Clock.now(),
    };
    println!("microseconds: evaluated | as calls ask it | as lists ask it");
    for (file, rules) in policies {
        let asked = RequestedAction::tool("read_file", labels, Some(&arguments));
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
        for (statement, why) in rules.not_compiled() {
            println!("{:>26}  {statement} is not compiled: {why}", "");
        }
    }
    Ok(())
}

/// The policy of a configuration, as the gateway reads it.
fn configured(file: &str) -> Result<Arc<Rules>, Box<dyn std::error::Error>> {
    let mut layers = Layers::new(&config::SCHEMA);
    layers.file(Path::new(file), &std::fs::read_to_string(file)?);
    layers.environment(std::env::vars_os());
    let config = config::resolve(&layers).map_err(|problems| lines(&problems))?;
    Ok(config.policy.ok_or("policy.file names no policy")?)
}

/// Policies, by their files.
type Policies = Vec<(String, Arc<Rules>)>;

fn read(files: &[String]) -> Result<Policies, Box<dyn std::error::Error>> {
    let mut policies = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)?;
        let rules = Rules::read(file, &text, environment()?);
        let rules = rules.map_err(|faults| format!("{file}:\n{}", lines(&faults)))?;
        policies.push((file.clone(), Arc::new(rules)));
    }
    Ok(policies)
}

fn lines<T: ToString>(faults: &[T]) -> String {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn environment() -> Result<PolicyEnvironment, Box<dyn std::error::Error>> {
    let named = |name: &str| BTreeSet::from([name.to_owned()]);
    Ok(PolicyEnvironment {
        groups: BTreeMap::from([("staff".to_owned(), GroupMembers::from(["alice", "bob"]))]),
        networks: BTreeMap::from([("office".to_owned(), vec!["192.0.2.0/24".parse()?])]),
        backends: named("documents"),
        approvers: named("ops"),
        clients: named("our-editor"),
        utc_offset: 0,
    })
}
