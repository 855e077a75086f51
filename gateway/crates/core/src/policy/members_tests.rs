//! Tokens for several backends that are offered together, at one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::tests::{ISSUED, approved, token};
use super::*;
use crate::access_token::Tools;
use crate::grants::{Pin, ToolState};
use mcp_protocol::calls::Call;
use mcp_protocol::members::Members;

/// Of few letters and the separator, so that names meet often.
fn word(random: &mut StdRng) -> String {
    let length = random.gen_range(1..5);
    let letter = |_| *b"ab_".choose(random).unwrap() as char;
    (0..length).map(letter).collect()
}

/// Whether a call of a tool by the name that all list it under is let through at its member.
fn reaches(token: &AccessToken, members: &Members, shown: &str, pin: Pin) -> bool {
    let Some((member, own)) = members.find(shown) else {
        return false;
    };
    let token = token.at_member(members, member, &Arc::default());
    let nothing = BTreeSet::new();
    let input = DecisionInput {
        now: ISSUED,
        approval_required: &nothing,
        read_only_tools: Some(&nothing),
        tool_states: &[(own.to_owned(), ToolState::Defined(pin))],
        doubled: None,
        policy: None,
    };
    let call = Call {
        name: Some(own.to_owned()),
        ..Call::named("tools/call")
    };
    decide(token, vec![call], input).is_ok()
}

/// Whatever the members are called and list: what a token reaches is what consent has shown, under that very
/// name.
#[test]
fn a_token_reaches_no_tool_by_a_name_that_consent_did_not_show() {
    let mut random = StdRng::seed_from_u64(13);
    let (mut reached, mut refused) = (0, 0);
    while reached + refused < 4_000 {
        let count = random.gen_range(1..4);
        let names = (0..count).map(|_| word(&mut random)).collect();
        let Ok(members) = Members::new(names, "_") else {
            continue;
        };
        let shown = |random: &mut StdRng| {
            let member = random.gen_range(0..count);
            members.shown(member, &word(random))
        };
        let (pin, other) = (Pin::new([1; 8]), Pin::new([2; 8]));
        let consented: BTreeMap<String, Pin> = (0..3).map(|_| (shown(&mut random), pin)).collect();
        let token = token("mcp", Tools::Pinned(consented.clone()));
        for _ in 0..20 {
            let name = match random.gen_range(0..3) {
                0 => shown(&mut random),
                1 => word(&mut random) + &word(&mut random),
                _ => consented.keys().next().unwrap().clone(),
            };
            let is_shown = consented.contains_key(&name);
            assert_eq!(reaches(&token, &members, &name, pin), is_shown, "{name}");
            assert!(!reaches(&token, &members, &name, other), "{name}");
            if is_shown { reached += 1 } else { refused += 1 }
        }
    }
    assert!(reached > 500 && refused > 500, "{reached} {refused}");
}

/// An approval that names a tool as its member does would open the tool of that name of every other.
#[test]
fn an_approval_is_for_the_one_tool_that_all_list_under_its_name() {
    let members = Members::new(vec!["mail".to_owned(), "chat".to_owned()], "_").unwrap();
    let required = BTreeSet::from(["send".to_owned()]);
    let nothing = BTreeSet::new();
    let outcome = |token: &AccessToken, member: usize| {
        let input = DecisionInput {
            now: ISSUED,
            approval_required: &required,
            read_only_tools: Some(&nothing),
            tool_states: &[("send".to_owned(), ToolState::Unknown)],
            doubled: None,
            policy: None,
        };
        let call = Call {
            name: Some("send".to_owned()),
            ..Call::named("tools/call")
        };
        let token = token.at_member(&members, member, &Arc::default());
        let said: Vec<String> = token
            .approvals()
            .iter()
            .map(|one| one.tool.clone())
            .collect();
        (said, decide(token, vec![call], input).is_ok())
    };
    let for_mail = approved(&["mail_send"]);
    assert_eq!(outcome(&for_mail, 0), (vec!["send".to_owned()], true));
    assert_eq!(outcome(&for_mail, 1), (Vec::new(), false));
    let for_no_member = approved(&["send"]);
    for member in [0, 1] {
        assert_eq!(outcome(&for_no_member, member), (Vec::new(), false));
    }
}
