//! Tools that want an approval.

use super::*;

#[test]
fn a_tool_that_needs_an_approval_is_refused_without_one() {
    let required = BTreeSet::from(["deploy".to_owned()]);
    let nothing = BTreeSet::new();
    let input = DecisionInput {
        now: ISSUED,
        approval_required: &required,
        read_only_tools: Some(&nothing),
        tool_states: &[],
        doubled: None,
        policy: None,
    };
    let ask = |tool: &str| {
        let calls = vec![Call {
            id: Some(mcp_protocol::Id::Number(1)),
            ..call("tools/call", Some(tool))
        }];
        let decided = super::super::decide(token("mcp", Tools::All), calls, input);
        decided.err().map(|refused| refused.refusal)
    };
    for tool in ["deploy", "Deploy", "DEPLOY", "ｄeploy", "dep\u{200b}loy"] {
        assert_eq!(ask(tool), Some(Refusal::Approval(tool.to_owned())));
    }
    assert_eq!(ask("search"), None);
}
