//! Tokens that nobody should accept, by the thousand, through [`verify`] itself: 0 accepted, and
//! how long the worst of them takes is printed (`cargo test --lib hostile -- --nocapture`).

mod mutated;

use std::time::{Duration, Instant};

use biscuit_auth::builder::{Algorithm, BlockBuilder};
use biscuit_auth::format::schema;
use biscuit_auth::{Biscuit, KeyPair};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::attenuation::tests::{Issuer, append, asked};
use super::envelope::BASE64;
use super::*;

/// What a refusal may cost at most.
const BOUND: Duration = Duration::from_millis(50);

/// Tries tokens, and remembers the one that took longest.
struct Trial<'a> {
    issuer: &'a Issuer,
    tried: usize,
    worst: (Duration, String),
}

impl<'a> Trial<'a> {
    fn new(issuer: &'a Issuer) -> Self {
        Self {
            issuer,
            tried: 0,
            worst: (Duration::ZERO, String::new()),
        }
    }

    fn refused(&mut self, what: &str, bytes: &[u8]) {
        self.tried += 1;
        let text = base64::Engine::encode(&BASE64, bytes);
        // Nothing longer ever gets here.
        let Some(bearer) = BearerToken::parse_token(&text) else {
            return;
        };
        // Other programs use this machine, too: the best of three is what the token costs.
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            let answer = verify(&bearer, &self.issuer.keys);
            best = best.min(start.elapsed());
            assert!(answer.is_err(), "accepted: {what}");
            if best < Duration::from_millis(2) {
                break;
            }
        }
        assert!(best < BOUND, "{what} took {best:?}");
        if best > self.worst.0 {
            self.worst = (best, what.to_owned());
        }
    }

    fn done(self, what: &str) {
        println!(
            "{what}: {} tried, 0 accepted, worst {:?} ({})",
            self.tried, self.worst.0, self.worst.1
        );
    }
}

fn bytes(token: &Biscuit) -> Vec<u8> {
    token.to_vec().unwrap()
}

/// A block of these bytes, signed as its holder can.
fn signed(token: &Biscuit, block: Vec<u8>) -> Vec<u8> {
    let next = KeyPair::new();
    let longer = token.container().append_serialized(&next, block, None);
    longer.unwrap().to_vec().unwrap()
}

#[test]
fn datalog_that_a_holder_appends_is_refused_at_once_whatever_it_would_cost_to_run() {
    let issuer = Issuer::new();
    let token = issuer.token(Tools::All);
    let mut trial = Trial::new(&issuer);
    let facts = |count: usize| -> String { (0..count).map(|n| format!("f({n});")).collect() };
    for ways in 2..7 {
        let body: Vec<String> = (0..ways).map(|n| format!("f($x{n})")).collect();
        let body = body.join(", ");
        for code in [
            format!("{} check if {body}, $x0 == 99;", facts(20)),
            format!("{} g($x0) <- {body};", facts(20)),
            format!("{} check all {body}, $x0 == 99;", facts(20)),
        ] {
            trial.refused("a join", &bytes(&append(&token, &code)));
        }
    }
    for code in [
        facts(150),
        "check if user($u), $u.matches(\"((a*)*)*$\");".to_owned(),
        "check if user($u), $u.matches(\"(a|a)*{100}{100}{100}\");".to_owned(),
        "check if tool($t), $t.matches(\"^(([a-z])+.)+[A-Z]([a-z])+$\");".to_owned(),
        format!("check if {}true;", "true && ".repeat(200)),
        format!("check if {}1{} > 0;", "(".repeat(60), ")".repeat(60)),
        format!("check if {} > 0;", vec!["1"; 200].join(" + ")),
        "check if [1, 2].all($a -> [1, 2].any($b -> $a == $b));".to_owned(),
        "e(1, 2); e(2, 3); e(3, 1); p($x, $y) <- e($x, $y); p($x, $z) <- p($x, $y), p($y, $z);"
            .to_owned(),
        "check if tool(\"a\") trusting previous;".to_owned(),
        "user(\"root\"); granted_all(true); scope(\"admin\"); expires(99999999999);".to_owned(),
        "approved(\"deploy\", 2099-01-01T00:00:00Z);".to_owned(),
        "check if true;".to_owned(),
        "check if false;".to_owned(),
        String::new(),
    ] {
        let Ok(block) = BlockBuilder::new().code(&code) else {
            panic!("{code}");
        };
        trial.refused(
            &code.chars().take(40).collect::<String>(),
            &bytes(&token.append(block).unwrap()),
        );
    }
    trial.done("Datalog");
}

#[test]
fn chains_that_were_cut_swapped_repeated_or_signed_by_others_are_refused() {
    let issuer = Issuer::new();
    let root = issuer.token(Tools::All);
    let one = append(&root, "check if tool(\"a\")");
    let two = append(&one, "check if read_only(true)");
    let other = append(&Issuer::new().token(Tools::All), "check if tool(\"a\")");
    let decode = |token: &Biscuit| schema::Biscuit::decode(bytes(token).as_slice()).unwrap();
    let mut trial = Trial::new(&issuer);
    let mut try_with = |what: &str, change: &dyn Fn(&mut schema::Biscuit)| {
        for token in [&two, &two.seal().unwrap()] {
            let mut changed = decode(token);
            change(&mut changed);
            trial.refused(what, &changed.encode_to_vec());
        }
    };
    let foreign = decode(&other);
    let shorter = decode(&root);
    try_with("the last block gone", &|token| drop(token.blocks.pop()));
    try_with("the first block gone", &|token| {
        drop(token.blocks.remove(0))
    });
    try_with("all blocks gone", &|token| token.blocks.clear());
    try_with("blocks swapped", &|token| token.blocks.swap(0, 1));
    try_with("a block twice", &|token| {
        let block = token.blocks[1].clone();
        token.blocks.push(block);
    });
    try_with("a block of another token", &|token| {
        token.blocks[1] = foreign.blocks[0].clone();
    });
    try_with("another authority", &|token| {
        token.authority = foreign.authority.clone()
    });
    try_with("the proof of its ancestor", &|token| {
        token.proof = shorter.proof.clone()
    });
    try_with("the proof of another", &|token| {
        token.proof = foreign.proof.clone()
    });
    try_with("no proof", &|token| token.proof.content = None);
    try_with("an empty proof", &|token| {
        token.proof.content = Some(schema::proof::Content::NextSecret(Vec::new()));
    });
    try_with("an empty seal", &|token| {
        token.proof.content = Some(schema::proof::Content::FinalSignature(vec![0; 64]));
    });
    for id in [None, Some(0), Some(2), Some(u32::MAX)] {
        try_with("another root key", &|token| token.root_key_id = id);
    }
    for at in 0..2 {
        for version in [Some(1), Some(2), Some(u32::MAX)] {
            try_with("another signature version", &|token| {
                token.blocks[at].version = version;
            });
        }
        for algorithm in [1, 2, -1, i32::MAX] {
            try_with("another algorithm", &|token| {
                token.blocks[at].next_key.algorithm = algorithm;
            });
        }
        try_with("another next key", &|token| {
            token.blocks[at].next_key = foreign.authority.next_key.clone();
        });
        try_with("an external signature", &|token| {
            token.blocks[at].external_signature = Some(schema::ExternalSignature {
                signature: vec![0; 64],
                public_key: foreign.authority.next_key.clone(),
            });
        });
    }
    try_with("an external signature of the authority", &|token| {
        token.authority.external_signature = Some(schema::ExternalSignature {
            signature: vec![0; 64],
            public_key: foreign.authority.next_key.clone(),
        });
    });
    try_with("an authority of another version", &|token| {
        token.authority.version = Some(1)
    });
    try_with("more facts in the authority", &|token| {
        let mut block = schema::Block::decode(token.authority.block.as_slice()).unwrap();
        let twin = block.facts[0].clone();
        block.facts.push(twin);
        token.authority.block = block.encode_to_vec();
    });
    trial.done("chains");
}

#[test]
fn blocks_that_the_libraries_would_not_write_are_refused() {
    let issuer = Issuer::new();
    let root = issuer.token(Tools::All);
    let good = {
        let token = append(&root, "check if tool($t), {\"a\", \"b\"}.contains($t)");
        let token = schema::Biscuit::decode(bytes(&token).as_slice()).unwrap();
        schema::Block::decode(token.blocks[0].block.as_slice()).unwrap()
    };
    let mut trial = Trial::new(&issuer);
    let mut change = |what: &str, change: &dyn Fn(&mut schema::Block)| {
        let mut block = good.clone();
        change(&mut block);
        trial.refused(what, &signed(&root, block.encode_to_vec()));
    };
    for version in [None, Some(0), Some(1), Some(2), Some(7), Some(u32::MAX)] {
        change("a version", &|block| block.version = version);
    }
    change("a remark", &|block| block.context = Some("x".to_owned()));
    change("a symbol of the default table", &|block| {
        block.symbols.push("read".to_owned())
    });
    change("a symbol of the authority", &|block| {
        block.symbols.push("granted_all".to_owned())
    });
    change("a symbol twice", &|block| {
        let twin = block.symbols[0].clone();
        block.symbols.push(twin);
    });
    change("ten thousand symbols", &|block| {
        block.symbols.extend((0..10_000).map(|n| n.to_string()));
    });
    change("a number beyond the table", &|block| {
        block.checks[0].queries[0].body[0].name = u64::MAX;
    });
    change("another head", &|block| {
        block.checks[0].queries[0].head.name = 0
    });
    change("no query", &|block| block.checks[0].queries.clear());
    change("no body", &|block| block.checks[0].queries[0].body.clear());
    change("no term", &|block| {
        block.checks[0].queries[0].body[0].terms.clear()
    });
    change("an empty term", &|block| {
        block.checks[0].queries[0].body[0].terms[0].content = None;
    });
    change("an unknown kind", &|block| block.checks[0].kind = Some(9));
    change("the kind one in words", &|block| {
        block.checks[0].kind = Some(-1)
    });
    change("an operator of nobody", &|block| {
        let ops = &mut block.checks[0].queries[0].expressions[0].ops;
        ops[2].content = Some(schema::op::Content::Binary(schema::OpBinary {
            kind: 99,
            ffi_name: None,
        }));
    });
    change("a call out", &|block| {
        let ops = &mut block.checks[0].queries[0].expressions[0].ops;
        ops[2].content = Some(schema::op::Content::Binary(schema::OpBinary {
            kind: 5,
            ffi_name: Some(1024),
        }));
    });
    change("a public key", &|block| {
        block.public_keys.push(KeyPair::new().public().to_proto());
    });
    change("a scope", &|block| {
        block.scope.push(schema::Scope {
            content: Some(schema::scope::Content::ScopeType(1)),
        });
    });
    change("nothing", &|block| block.checks.clear());
    let canonical = good.encode_to_vec();
    for (what, tail) in [
        ("an unknown field", &[0x98, 0x06, 0x01][..]),
        ("a field out of order", &[0x18, 0x03]),
        ("an end of group", &[0x0c]),
        ("rubbish", &[0xff; 9]),
    ] {
        let mut block = canonical.clone();
        block.extend(tail);
        trial.refused(what, &signed(&root, block));
    }
    // Nested far deeper than any reader follows.
    let mut deep = vec![0x10, 0x01];
    for _ in 0..400 {
        let mut outer = vec![0x3a];
        prost::encoding::encode_varint(deep.len() as u64 + 2, &mut outer);
        outer.push(0x0a);
        prost::encoding::encode_varint(deep.len() as u64, &mut outer);
        outer.extend(&deep);
        deep = outer;
    }
    trial.refused("depth", &signed(&root, deep));
    let p256 = KeyPair::new_with_algorithm(Algorithm::Secp256r1);
    let block = BlockBuilder::new().code("check if tool(\"a\")").unwrap();
    let token = root.append_with_keypair(&p256, block).unwrap();
    trial.refused("a next key of P-256", &bytes(&token));
    trial.done("blocks");
}

#[test]
fn a_block_signed_by_a_stranger_is_refused_and_one_of_an_approver_only_approves() {
    let (approver, stranger) = (KeyPair::new(), KeyPair::new());
    let p256 = KeyPair::new_with_algorithm(Algorithm::Secp256r1);
    let Issuer { keys } = Issuer::new();
    let issuer = Issuer {
        keys: keys.with_approvers(vec![Approver {
            name: "release team".to_owned(),
            key: approver.public(),
        }]),
    };
    let root = append(&issuer.token(Tools::All), "check if tool(\"deploy\")");
    let with = |token: &Biscuit, key: &KeyPair, code: &str| {
        let request = token.third_party_request().unwrap();
        let block = BlockBuilder::new().code(code).unwrap();
        let block = request.create_block(&key.private(), block).unwrap();
        token.append_third_party(key.public(), block).unwrap()
    };
    let good = "approved(\"deploy\", 2026-11-24T15:00:00Z)";
    let token = with(&root, &approver, good);
    let verified = issuer.verify(&token).unwrap();
    assert_eq!(
        verified.attenuation(),
        issuer.verify(&root).unwrap().attenuation()
    );
    assert_eq!(verified.approvals()[0].tool, "deploy");
    assert_eq!(verified.approvals()[0].approver, "release team");
    assert_eq!(
        verified.approvals()[0].until.to_string(),
        "2026-11-24T15:00:00Z"
    );
    // It can be narrowed further, and carries the approval on.
    let further = append(&token, "check if argument(\"env\", \"test\")");
    assert_eq!(issuer.verify(&further).unwrap().approvals().len(), 1);

    let mut trial = Trial::new(&issuer);
    trial.refused("a stranger", &bytes(&with(&root, &stranger, good)));
    trial.refused("a stranger of P-256", &bytes(&with(&root, &p256, good)));
    for code in [
        "",
        "approved(\"deploy\")",
        "approved(\"deploy\", 1)",
        "approved(1, 2026-11-24T15:00:00Z)",
        "approved(\"deploy\", 2026-11-24T15:00:00Z, 1)",
        "approved(\"deploy\", 2026-11-24T15:00:00Z); granted_all(true)",
        "approved(\"deploy\", 2026-11-24T15:00:00Z); check if tool(\"deploy\")",
        "approved(\"deploy\", $t) <- time($t)",
        "granted(\"deploy\")",
        "user(\"root\")",
    ] {
        trial.refused(code, &bytes(&with(&root, &approver, code)));
    }
    // An approval is for one token: on another it is worth nothing.
    let sibling = append(&issuer.token(Tools::All), "check if tool(\"deploy\")");
    let take = |token: &Biscuit| schema::Biscuit::decode(bytes(token).as_slice()).unwrap();
    let mut moved = take(&with(&sibling, &approver, good));
    moved.blocks[1] = take(&token).blocks[1].clone();
    trial.refused("an approval of another token", &moved.encode_to_vec());
    trial.done("third parties");
}
