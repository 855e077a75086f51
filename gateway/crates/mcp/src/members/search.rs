//! Two tools in place of very many: one finds tools, the other calls one. Models read what tools say with every
//! request, and some apps take only so many.

use serde_json::json;

use crate::message::Message;
use crate::object::Object;

/// Finds tools.
pub const SEARCH_TOOLS: &str = "search_tools";

/// Calls one.
pub const CALL_TOOL: &str = "call_tool";

/// Both.
pub const OWN_TOOLS: [&str; 2] = [SEARCH_TOOLS, CALL_TOOL];

/// So many tools are found at most.
const MOST_FOUND: usize = 10;

/// The result of `tools/list` with these two.
pub fn own_tools(count: usize) -> Object {
    let find = format!(
        "Finds tools among {count} by words of their names and descriptions. Each is described as in a list of tools: call it with {CALL_TOOL}."
    );
    let tools = json!([
        {
            "name": SEARCH_TOOLS,
            "title": "Find tools",
            "description": find,
            "inputSchema": {
                "type": "object",
                "properties": {"query": {"type": "string", "description": "Words; empty for the first tools."}},
                "required": ["query"],
            },
            "annotations": {"readOnlyHint": true},
        },
        {
            "name": CALL_TOOL,
            "title": "Call a tool",
            "description": format!("Calls a tool that {SEARCH_TOOLS} has found, by its name and with arguments as its schema says."),
            "inputSchema": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "arguments": {"type": "object"},
                },
                "required": ["name"],
            },
        },
    ]);
    Object::new()
        .with("resultType", "complete")
        .with("tools", &tools)
        .with("ttlMs", &0)
        .with("cacheScope", "private")
}

/// The result of a search among tools as they are listed: those that have most of the words, the first ones
/// first.
pub fn found(tools: &[Object], query: &str) -> Object {
    let query = query.to_lowercase();
    let words: Vec<&str> = query.split_whitespace().collect();
    let mut ranked: Vec<(usize, &Object)> = tools
        .iter()
        .map(|tool| (score(tool, &words), tool))
        .filter(|(score, _)| words.is_empty() || *score > 0)
        .collect();
    ranked.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let best = ranked.iter().take(MOST_FOUND).map(|(_, tool)| *tool);
    let best: Vec<&Object> = best.collect();
    let all = Object::new()
        .with("tools", &best)
        .with("found", &ranked.len());
    let text = Object::new()
        .with("type", "text")
        .with("text", &all.to_string());
    Object::new()
        .with("resultType", "complete")
        .with("content", &[text])
        .with("structuredContent", &all)
}

/// How well a tool goes with words: one in its name counts more than one in what it says.
fn score(tool: &Object, words: &[&str]) -> usize {
    let text = |name: &str| tool.text(name).unwrap_or_default().to_lowercase();
    let (name, more) = (text("name"), text("title") + " " + &text("description"));
    let each = words.iter().map(|word| {
        let in_name = if name.contains(word) { 2 } else { 0 };
        let in_more = usize::from(more.contains(word));
        in_name + in_more
    });
    each.sum()
}

/// The call that a call of [`CALL_TOOL`] stands for, as if the client had named the tool itself; `None` where
/// it names none.
pub fn call_of(call: &Message) -> Option<Message> {
    let arguments = call.params().object("arguments")?;
    let name = arguments.text("name")?;
    let mut named = call.clone();
    named.edit_params(|params| {
        params.set("name", &name);
        match arguments.raw("arguments") {
            Some(own) => params.set("arguments", own),
            None => drop(params.remove("arguments")),
        }
    });
    Some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, description: &str) -> Object {
        Object::new()
            .with("name", name)
            .with("description", description)
    }

    fn names(result: &Object) -> Vec<String> {
        let tools: Vec<Object> = result
            .object("structuredContent")
            .unwrap()
            .read("tools")
            .unwrap();
        tools.iter().filter_map(|tool| tool.text("name")).collect()
    }

    #[test]
    fn the_best_are_found_first_and_not_too_many() {
        let tools = [
            tool("mail_send", "Sends a letter"),
            tool("notes_search", "Finds notes"),
            tool("mail_search", "Finds letters by words"),
        ];
        assert_eq!(
            names(&found(&tools, "search LETTERS")),
            ["mail_search", "notes_search"]
        );
        assert_eq!(names(&found(&tools, "")).len(), 3);
        assert!(names(&found(&tools, "calendar")).is_empty());
        let many: Vec<Object> = (0..50).map(|at| tool(&format!("a_{at}"), "")).collect();
        let result = found(&many, "a");
        assert_eq!(names(&result).len(), MOST_FOUND);
        let count = result
            .object("structuredContent")
            .unwrap()
            .read::<u64>("found");
        assert_eq!(count, Some(50));
    }

    #[test]
    fn a_call_of_a_found_tool_is_that_tools_call() {
        let call = |params: &str| {
            let text =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            call_of(&Message::parse(&text).unwrap()).map(|call| call.params().to_string())
        };
        assert_eq!(
            call(
                r#"{"name":"call_tool","arguments":{"name":"mail_send","arguments":{"to":1.0}},"requestState":"s"}"#
            ),
            Some(r#"{"name":"mail_send","arguments":{"to":1.0},"requestState":"s"}"#.to_owned())
        );
        assert_eq!(
            call(r#"{"name":"call_tool","arguments":{"name":"a"}}"#),
            Some(r#"{"name":"a"}"#.to_owned())
        );
        assert_eq!(call(r#"{"name":"call_tool","arguments":{}}"#), None);
        assert_eq!(call(r#"{"name":"call_tool"}"#), None);
    }
}
