//! What is decided here, against the library's engine.

use super::*;

const TOOLS: &[&str] = &["search", "fetch", "erase"];
const BACKENDS: &[&str] = &["notes", "files"];
const PATHS: &[&str] = &["path", "a.b", "limit"];
const TEXTS: &[&str] = &["/public/", "/public/a", "/public/../x", "/secret", "x", ""];

fn subset(names: &[&str], rng: &mut StdRng) -> BTreeSet<String> {
    let count = rng.gen_range(1..=names.len());
    names
        .choose_multiple(rng, count)
        .map(|name| (*name).to_owned())
        .collect()
}

fn pick(names: &[&str], rng: &mut StdRng) -> String {
    (*names.choose(rng).unwrap()).to_owned()
}

fn constants(rng: &mut StdRng) -> BTreeSet<Constant> {
    match rng.gen_range(0..3) {
        0 => subset(TEXTS, rng).into_iter().map(Constant::Text).collect(),
        1 => [Constant::Integer(rng.gen_range(0..3))].into(),
        _ => [Constant::Bool(rng.gen_bool(0.5))].into(),
    }
}

fn check(rng: &mut StdRng) -> Check {
    match rng.gen_range(0..6) {
        0 => Check::Tool(subset(TOOLS, rng)),
        1 => Check::Backend(subset(BACKENDS, rng)),
        2 => Check::Before(NOW - 2 + rng.gen_range(0..5)),
        3 => Check::ReadOnly,
        4 => Check::Argument {
            path: pick(PATHS, rng),
            is: Match::OneOf(constants(rng)),
        },
        _ => Check::Argument {
            path: pick(PATHS, rng),
            is: Match::StartsWith(pick(TEXTS, rng)),
        },
    }
}

/// A call with all its facts.
pub(in crate::access_token) struct GeneratedCall {
    tool: String,
    backend: String,
    now: u64,
    read_only: bool,
    call: Call,
}

pub(in crate::access_token) fn asked(rng: &mut StdRng) -> GeneratedCall {
    let tool = pick(TOOLS, rng);
    let value = |rng: &mut StdRng| match rng.gen_range(0..3) {
        0 => serde_json::json!(pick(TEXTS, rng)),
        1 => serde_json::json!(rng.gen_range(0..3)),
        _ => serde_json::json!(rng.gen_bool(0.5)),
    };
    let mut arguments = serde_json::Map::new();
    if rng.gen_bool(0.8) {
        arguments.insert("path".to_owned(), value(rng));
    }
    if rng.gen_bool(0.8) {
        arguments.insert("a".to_owned(), serde_json::json!({"b": value(rng)}));
    }
    if rng.gen_bool(0.8) {
        arguments.insert("limit".to_owned(), value(rng));
    }
    let body = serde_json::json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    });
    let mut judged =
        jsonrpc::judge_and_keep(&body.to_string().into(), false, Keep::Arguments).unwrap();
    GeneratedCall {
        tool,
        backend: pick(BACKENDS, rng),
        now: NOW - 1 + rng.gen_range(0..3),
        read_only: rng.gen_bool(0.5),
        call: Call::from_message(&mut judged.messages_mut()[0]),
    }
}

impl GeneratedCall {
    /// Whether every text stays below whatever it starts with, so that the library, which knows no
    /// such rule, must decide the same.
    pub(in crate::access_token) fn is_straight(&self) -> bool {
        let arguments = self.call.arguments.as_ref().unwrap();
        arguments.iter().unwrap().all(|(_, value)| match value {
            Value::Text(text) => mcp_protocol::path_prefix::stays_below(text, ""),
            _ => true,
        })
    }

    /// Our decision.
    pub(in crate::access_token) fn ours(&self, token: &VerifiedToken) -> bool {
        let asked = ToolCall {
            tool: &self.tool,
            read_only: self.read_only,
            arguments: self.call.arguments.as_ref(),
        };
        token.claims().tools.contains(&self.tool)
            && !token.is_expired(Timestamp::from_secs(self.now))
            && token.attenuation().allows_backend(&self.backend)
            && token.attenuation().allows_call(&asked).is_ok()
    }

    /// The library's, given the same facts.
    pub(in crate::access_token) fn librarys(&self, token: &Biscuit) -> bool {
        let fact = |name: &str, terms| Fact::new(name.to_owned(), terms);
        let mut builder = AuthorizerBuilder::new()
            .set_limits(AuthorizerLimits {
                max_time: Duration::from_secs(10),
                ..AuthorizerLimits::default()
            })
            .fact(fact("tool", vec![string(&self.tool)]))
            .unwrap()
            .fact(fact("backend", vec![string(&self.backend)]))
            .unwrap()
            .fact(fact("time", vec![FactTerm::Date(self.now)]))
            .unwrap()
            .fact(fact("read_only", vec![boolean(self.read_only)]))
            .unwrap();
        for (path, value) in self.call.arguments.as_ref().unwrap().iter().unwrap() {
            let value = match value {
                Value::Text(text) => string(text),
                Value::Integer(number) => int(*number),
                Value::Bool(value) => boolean(*value),
                _ => continue,
            };
            builder = builder
                .fact(fact("argument", vec![string(path), value]))
                .unwrap();
        }
        builder
            .code("allow if granted_all(true); allow if tool($t), granted($t);")
            .unwrap()
            .build(token)
            .unwrap()
            .authorize()
            .is_ok()
    }
}

#[test]
fn a_chain_of_narrowings_never_widens_in_any_order_and_means_what_the_library_says() {
    let mut rng = StdRng::seed_from_u64(4);
    let issuer = Issuer::new();
    let (mut allowed, mut decisions) = (0, 0);
    for _ in 0..150 {
        let tools = if rng.gen_bool(0.5) {
            Tools::All
        } else {
            Tools::Only(subset(TOOLS, &mut rng))
        };
        let root = issuer.token(tools);
        let blocks: Vec<Vec<Check>> = (0..rng.gen_range(0..4))
            .map(|_| (0..rng.gen_range(1..3)).map(|_| check(&mut rng)).collect())
            .collect();
        let calls: Vec<GeneratedCall> = (0..20).map(|_| asked(&mut rng)).collect();

        // The chain as it is made, each token less than the one before.
        let mut token = root.clone();
        let mut before: Vec<bool> = decide(&issuer, &token, &calls);
        for block in &blocks {
            token = append(&token, &code(block));
            let now = decide(&issuer, &token, &calls);
            for (before, now) in before.iter().zip(&now) {
                assert!(*before || !now, "wider than its parent: {blocks:?}");
            }
            before = now;
        }
        for (call, ours) in calls.iter().zip(&before) {
            let librarys = call.librarys(&token);
            if call.is_straight() {
                assert_eq!(*ours, librarys, "{blocks:?}")
            } else {
                assert!(!ours || librarys, "wider than the library: {blocks:?}")
            }
            decisions += 1;
            allowed += usize::from(*ours);
        }

        // The same blocks and checks in another order.
        let mut shuffled = blocks.clone();
        shuffled.shuffle(&mut rng);
        let mut other = root;
        for block in &mut shuffled {
            block.shuffle(&mut rng);
            other = append(&other, &code(block));
        }
        assert_eq!(decide(&issuer, &other, &calls), before, "{blocks:?}");
    }
    println!("{decisions} decisions, {allowed} allowed");
    assert!(
        allowed > decisions / 50 && allowed < decisions,
        "{allowed} of {decisions}"
    );
}

fn code(block: &[Check]) -> String {
    block.iter().map(|check| format!("{check};")).collect()
}

fn decide(issuer: &Issuer, token: &Biscuit, calls: &[GeneratedCall]) -> Vec<bool> {
    let verified = issuer.verify(token).unwrap();
    calls.iter().map(|call| call.ours(&verified)).collect()
}
