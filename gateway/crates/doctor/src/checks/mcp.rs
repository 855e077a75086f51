//! MCP calls with the token: handshake of both revision families, tools, the contract of `search` and `fetch`,
//! and calls that must be refused.

use serde_json::{Value, json};
use url::Url;

use super::judgement::{Problem, answer, judge, settle, wrong};
use crate::check::Check;
use crate::exchange::{Answer, Exchange};
use crate::finding::Finding;
use mcp_protocol::sse::{Event, Splitter};

/// The JSON-RPC response to request `id` in an answer, as JSON or among the events of a stream.
pub(crate) fn response(answer: &Answer, id: u64) -> Option<Value> {
    let is_ours = |message: &Value| message["id"] == json!(id);
    if answer.is_event_stream() {
        let mut splitter = Splitter::default();
        // A message that the stream's end cut off is none.
        let events = splitter.split(&answer.body, answer.body.len()).ok()?;
        let events = events.iter().filter_map(|event| Event::parse(event));
        return events
            .filter_map(|event| serde_json::from_str(&event.data).ok())
            .find(is_ours);
    }
    answer.json().filter(is_ours)
}

/// The `result` of a successful call.
fn result(exchange: &Exchange, id: u64) -> Result<Value, Problem> {
    let answer = answer(exchange)?;
    if answer.status.as_u16() != 200 {
        return wrong(format!("the call answers {answer}"));
    }
    let Some(mut message) = response(answer, id) else {
        return wrong(format!("no JSON-RPC response in {answer}"));
    };
    match message.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => wrong(format!(
            "the call gets error {}: {}",
            message["error"]["code"],
            message["error"]["message"].as_str().unwrap_or_default()
        )),
    }
}

pub(crate) fn initialize(exchange: &Exchange, id: u64) -> Finding {
    let check = Check::Initialize;
    let judged = result(exchange, id).and_then(|result| {
        let server = &result["serverInfo"];
        let name = server["name"].as_str().unwrap_or("a server without a name");
        let version = server["version"].as_str().unwrap_or_default();
        match result["protocolVersion"].as_str() {
            Some(revision) => Ok(check.pass(format!("{name} {version}, revision {revision}"))),
            None => wrong("the result has no protocolVersion"),
        }
    });
    settle(check, [exchange], judged)
}

/// `server/discover` of 2026-07-28: a result, or an error that makes a client fall back.
pub(crate) fn server_discover(exchange: &Exchange, id: u64) -> Finding {
    let check = Check::ServerDiscover;
    judge(check, exchange, |answer| {
        if result(exchange, id).is_ok() {
            return Ok(check.pass("the server speaks 2026-07-28"));
        }
        let understood = matches!(answer.status.as_u16(), 200 | 400 | 404 | 405 | 406);
        if understood && !answer.is_html() {
            let summary = format!("{answer}: clients fall back to initialize");
            return Ok(check.pass(summary));
        }
        wrong(format!(
            "the answer is {answer}, from which no client falls back"
        ))
    })
}

/// The tools of `tools/list`.
pub(crate) fn tools(exchange: &Exchange, id: u64) -> Vec<Value> {
    let result = result(exchange, id).unwrap_or_default();
    result["tools"].as_array().cloned().unwrap_or_default()
}

/// `tools/list`, and whether the tools say what they do.
pub(crate) fn tools_list(exchange: &Exchange, id: u64) -> Vec<Finding> {
    let check = Check::ToolsList;
    let judged = result(exchange, id).and_then(|result| {
        if !result["tools"].is_array() {
            return wrong("the result has no tools");
        }
        Ok(match names(&tools(exchange, id)).as_slice() {
            [] => check.warn("the list of tools is empty"),
            names => check.pass(format!("{} tools: {}", names.len(), brief(names))),
        })
    });
    let usable = judged.is_ok();
    let mut findings = vec![settle(check, [exchange], judged)];
    if usable {
        let tools = tools(exchange, id);
        let mut bare = tools.clone();
        bare.retain(|tool| !tool["annotations"]["readOnlyHint"].is_boolean());
        let check = Check::ToolAnnotations;
        findings.push(if bare.is_empty() {
            check.pass("every tool says whether it only reads")
        } else {
            let (bare_ones, all) = (bare.len(), tools.len());
            let summary = format!("{bare_ones} of {all} tools have no readOnlyHint");
            check.warn(summary).seen(brief(&names(&bare)))
        });
    }
    findings
}

fn names(tools: &[Value]) -> Vec<String> {
    let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
    tools.iter().map(name).collect()
}

fn brief(names: &[String]) -> String {
    let shown = names.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 8 {
        format!("{shown}, …")
    } else {
        shown
    }
}

/// A tool of the contract that may be called: it is there, and says that it only reads.
pub(crate) fn callable<'a>(tools: &'a [Value], name: &str) -> Option<&'a Value> {
    tools
        .iter()
        .find(|tool| tool["name"] == name && tool["annotations"]["readOnlyHint"] == true)
}

/// `search`: its schema, and what a call gave.
pub(crate) fn search(tools: &[Value], call: Option<(&Exchange, u64)>) -> Finding {
    let check = Check::Search;
    contract(check, "search", "query", tools, call, |found| {
        let results = found["results"].as_array().ok_or("results is no array")?;
        for result in results {
            let complete = ["id", "title"]
                .iter()
                .all(|member| result[*member].is_string());
            if !complete || !is_web_url(&result["url"]) {
                return Err("a result lacks id, title or an absolute url");
            }
        }
        Ok(format!(
            "{} results, each with id, title and url",
            results.len()
        ))
    })
}

/// `fetch`: its schema, and what a call gave.
pub(crate) fn fetch(tools: &[Value], call: Option<(&Exchange, u64)>) -> Finding {
    contract(Check::Fetch, "fetch", "id", tools, call, |found| {
        let complete = ["id", "title", "text"]
            .iter()
            .all(|member| found[*member].is_string());
        if complete && is_web_url(&found["url"]) {
            Ok("a document with id, title, text and url".to_owned())
        } else {
            Err("the document lacks id, title, text or an absolute url")
        }
    })
}

fn contract(
    check: Check,
    name: &str,
    argument: &str,
    tools: &[Value],
    call: Option<(&Exchange, u64)>,
    summarize: impl Fn(&Value) -> Result<String, &'static str>,
) -> Finding {
    let offered = |name: &str| tools.iter().find(|tool| tool["name"] == name);
    // One without the other is some other tool of that name, such as one that fetches a URL.
    let alone = |there: &str, missing: &str| {
        check.warn(format!(
            "there is {there} without {missing}: no deep research, no company knowledge"
        ))
    };
    let (searches, fetches) = match (offered("search"), offered("fetch")) {
        (Some(searches), Some(fetches)) => (searches, fetches),
        (Some(_), None) => return alone("search", "fetch"),
        (None, Some(_)) => return alone("fetch", "search"),
        (None, None) => {
            return check.skip(
                "neither search nor fetch, which only deep research and company knowledge need",
            );
        }
    };
    let tool = if name == "search" { searches } else { fetches };
    let schema = &tool["inputSchema"];
    let properties = schema["properties"].as_object();
    let exact = properties.is_some_and(|properties| properties.len() == 1)
        && schema["properties"][argument]["type"] == "string"
        && schema["required"] == json!([argument]);
    if !exact {
        return check
            .fail(format!(
                "its input is not exactly one required string {argument:?}"
            ))
            .seen(format!("inputSchema: {schema}"));
    }
    let Some((exchange, id)) = call else {
        return check.pass("its input is as the contract says; not called");
    };
    let judged = result(exchange, id)
        .and_then(|result| document(&result))
        .and_then(|found| summarize(&found).or_else(wrong))
        .map(|summary| check.pass(summary));
    settle(check, [exchange], judged)
}

/// The one text item of a tool's result, as JSON; equal to the structured content where there is
/// one.
pub(crate) fn payload(exchange: &Exchange, id: u64) -> Option<Value> {
    document(&result(exchange, id).ok()?).ok()
}

fn document(result: &Value) -> Result<Value, Problem> {
    if result["isError"] == true {
        return wrong("the tool reports an error");
    }
    let [item] = result["content"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
    else {
        return wrong("content is not exactly one item");
    };
    let text = item["text"].as_str().filter(|_| item["type"] == "text");
    let Some(Ok(document)) = text.map(serde_json::from_str::<Value>) else {
        return wrong("the content item is not text with JSON in it");
    };
    let structured = &result["structuredContent"];
    if !structured.is_null() && *structured != document {
        return wrong("structuredContent differs from the text");
    }
    Ok(document)
}

fn is_web_url(value: &Value) -> bool {
    let url = value.as_str().and_then(|text| Url::parse(text).ok());
    url.is_some_and(|url| matches!(url.scheme(), "http" | "https"))
}

/// A call with the id of a session that does not exist.
pub(crate) fn session_unknown(exchange: &Exchange) -> Finding {
    let check = Check::SessionUnknown;
    judge(check, exchange, |answer| match answer.status.as_u16() {
        404 => Ok(check.pass("an unknown session gets 404")),
        200 => Ok(check.pass("the server keeps no sessions")),
        400 => Ok(check.warn("an unknown session gets 400: some clients stay stuck")),
        _ => wrong(format!("an unknown session gets {answer}")),
    })
}

/// A call with the token in the query alone.
pub(crate) fn query_token(exchange: &Exchange) -> Finding {
    refused(Check::QueryToken, 401, "a token in the query", exchange)
}

/// A call with a good token from a page of a stranger.
pub(crate) fn origin(exchange: &Exchange) -> Finding {
    refused(Check::Origin, 403, "a foreign Origin", exchange)
}

fn refused(check: Check, status: u16, what: &str, exchange: &Exchange) -> Finding {
    judge(check, exchange, |answer| {
        Ok(check.pass_if(
            answer.status.as_u16() == status,
            format!("{what} gets {status}"),
            format!("{what} gets {answer}, not {status}"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::super::judgement::verdict_of;
    use super::*;
    use crate::exchange::tests::exchange;
    use crate::finding::Verdict;

    const URL: &str = "https://mcp.example.com/mcp";

    fn reply(status: u16, kind: &str, body: &str) -> Exchange {
        exchange("POST", URL, status, &[("content-type", kind)], body)
    }

    fn rpc(result: &Value) -> Exchange {
        let message = json!({"jsonrpc": "2.0", "id": 1, "result": result});
        reply(200, "application/json", &message.to_string())
    }

    fn tool(name: &str, argument: &str) -> Value {
        json!({
            "name": name,
            "inputSchema": {
                "type": "object",
                "properties": {argument: {"type": "string"}},
                "required": [argument],
            },
            "annotations": {"readOnlyHint": true},
        })
    }

    fn content(document: &Value) -> Value {
        json!({"content": [{"type": "text", "text": document.to_string()}], "structuredContent": document})
    }

    #[test]
    fn a_response_is_found_as_json_and_among_events() {
        let message = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#;
        let events =
            format!(": hello\n\ndata: {{\"method\":\"x\"}}\n\nevent: message\ndata: {message}\n\n");
        for exchange in [
            reply(200, "application/json", message),
            reply(200, "text/event-stream", &events),
        ] {
            assert_eq!(initialize(&exchange, 1).verdict, Verdict::Pass);
            assert_eq!(initialize(&exchange, 2).verdict, Verdict::Fail);
        }
    }

    #[test]
    fn server_discover_may_be_refused_in_ways_that_clients_understand() {
        for (status, kind, verdict) in [
            (400, "application/json", Verdict::Pass),
            (404, "application/json", Verdict::Pass),
            (405, "text/plain", Verdict::Pass),
            (400, "text/html", Verdict::Fail),
            (500, "application/json", Verdict::Fail),
            (502, "text/html", Verdict::Fail),
        ] {
            let found = server_discover(&reply(status, kind, "{}"), 1).verdict;
            assert_eq!(found, verdict, "{status} {kind}");
        }
        assert_eq!(
            server_discover(&rpc(&json!({"supportedVersions": []})), 1).verdict,
            Verdict::Pass
        );
    }

    #[test]
    fn tools_without_annotations_are_a_warning() {
        let bare = json!({"name": "write"});
        let found = tools_list(&rpc(&json!({"tools": [tool("search", "query"), bare]})), 1);
        assert_eq!(verdict_of(&found, Check::ToolsList), Verdict::Pass);
        assert_eq!(verdict_of(&found, Check::ToolAnnotations), Verdict::Warn);
        let found = tools_list(&rpc(&json!({"tools": []})), 1);
        assert_eq!(verdict_of(&found, Check::ToolsList), Verdict::Warn);
    }

    #[test]
    fn search_is_judged_by_schema_and_answer() {
        let tools = [tool("search", "query"), tool("fetch", "id")];
        let hit = json!({"id": "1", "title": "One", "url": "https://x.example/1"});
        let good = rpc(&content(&json!({"results": [hit]})));
        assert_eq!(search(&tools, Some((&good, 1))).verdict, Verdict::Pass);
        let other = [tool("search", "q"), tool("fetch", "id")];
        assert_eq!(search(&other, None).verdict, Verdict::Fail);
        let relative = rpc(&content(
            &json!({"results": [{"id": "1", "title": "One", "url": "/1"}]}),
        ));
        assert_eq!(search(&tools, Some((&relative, 1))).verdict, Verdict::Fail);
        let two = json!({"content": [{"type": "text", "text": "{\"results\":[]}"}, {"type": "text", "text": "x"}]});
        assert_eq!(search(&tools, Some((&rpc(&two), 1))).verdict, Verdict::Fail);
        let mut differs = content(&json!({"results": []}));
        differs["structuredContent"] = json!({"results": [1]});
        assert_eq!(
            search(&tools, Some((&rpc(&differs), 1))).verdict,
            Verdict::Fail
        );
    }

    #[test]
    fn fetch_is_judged_by_schema_and_answer() {
        let tools = [tool("search", "query"), tool("fetch", "id")];
        let whole = json!({"id": "1", "title": "One", "text": "…", "url": "https://x.example/1"});
        assert_eq!(
            fetch(&tools, Some((&rpc(&content(&whole)), 1))).verdict,
            Verdict::Pass
        );
        let mut lacking = whole;
        lacking["text"] = Value::Null;
        assert_eq!(
            fetch(&tools, Some((&rpc(&content(&lacking)), 1))).verdict,
            Verdict::Fail
        );
    }

    #[test]
    fn a_server_of_another_kind_is_not_held_to_the_contract() {
        let neither = [tool("echo", "message")];
        assert_eq!(search(&neither, None).verdict, Verdict::Skip);
        assert_eq!(fetch(&neither, None).verdict, Verdict::Skip);
        // A tool that fetches a URL is no half of a search.
        let one = [tool("fetch", "url")];
        assert_eq!(search(&one, None).verdict, Verdict::Warn);
        assert_eq!(fetch(&one, None).verdict, Verdict::Warn);
        let one = [tool("search", "words")];
        assert_eq!(search(&one, None).verdict, Verdict::Warn);
        assert_eq!(fetch(&one, None).verdict, Verdict::Warn);
    }

    #[test]
    fn a_tool_that_may_write_is_never_called() {
        let mut writes = tool("search", "query");
        writes["annotations"] = json!({"readOnlyHint": false});
        assert!(callable(&[writes], "search").is_none());
        assert!(callable(&[tool("search", "query")], "search").is_some());
    }

    #[test]
    fn what_must_be_refused_is_refused_with_its_own_status() {
        let json = "application/json";
        assert_eq!(query_token(&reply(401, json, "{}")).verdict, Verdict::Pass);
        assert_eq!(query_token(&reply(200, json, "{}")).verdict, Verdict::Fail);
        assert_eq!(origin(&reply(403, json, "{}")).verdict, Verdict::Pass);
        assert_eq!(origin(&reply(200, json, "{}")).verdict, Verdict::Fail);
        assert_eq!(
            session_unknown(&reply(404, json, "{}")).verdict,
            Verdict::Pass
        );
        assert_eq!(
            session_unknown(&reply(400, json, "{}")).verdict,
            Verdict::Warn
        );
        assert_eq!(
            session_unknown(&reply(502, json, "{}")).verdict,
            Verdict::Fail
        );
    }
}
