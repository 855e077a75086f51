//! `search` and `fetch`, to the letter.

use serde_json::{Value, json};

use crate::backend::{Backend, Documents};
use crate::mcp::{Client, SessionClient, StatelessClient};
use crate::wire;

const GUIDE: &str = "# Baking guide\n\nHow we bake.\n\n## Icing\n\nBeat butter and sugar until pale.\n\n## Oven\n\nPreheat to 180 degrees.\n";
const ORDERS: &str = r#"{"records":[
    {"id":"o-1","title":"Lemon order","text":"Twelve lemon cupcakes for Monday.","url":"https://example.com/o/1","metadata":{"paid":false}},
    {"id":"o-2","title":"Mocha order","text":"Six mocha cupcakes.","url":"https://example.com/o/2"}]}"#;

fn started() -> (Documents, Backend, SessionClient) {
    let documents = Documents::new(&[("guide.md", GUIDE), ("orders.json", ORDERS)]);
    let backend = Backend::start(documents.path());
    let client = SessionClient::connect(backend.address, "2025-11-25");
    (documents, backend, client)
}

/// The one text item of a result, which must be all there is.
fn only_text(result: &Value) -> &str {
    let content = result["content"].as_array().expect("content");
    assert_eq!(content.len(), 1, "{result}");
    assert_eq!(content[0]["type"], "text");
    content[0]["text"].as_str().expect("text")
}

fn assert_same_twice(result: &Value) {
    let text: Value = serde_json::from_str(only_text(result)).expect("JSON in the text");
    assert_eq!(text, result["structuredContent"]);
    assert_ne!(result["isError"], true);
}

#[test]
fn the_definitions_are_what_chatgpt_checks() {
    let (_documents, _backend, mut client) = started();
    let answer = client.ask("tools/list", json!({}));
    let tools = answer["result"]["tools"].as_array().unwrap();
    let names: Vec<_> = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["search", "fetch"]);
    for (tool, argument) in tools.iter().zip(["query", "id"]) {
        assert_eq!(
            tool["inputSchema"],
            json!({
                "type": "object",
                "properties": { argument: { "type": "string" } },
                "required": [argument],
                "additionalProperties": false,
            })
        );
        let annotations = &tool["annotations"];
        assert_eq!(annotations["readOnlyHint"], true);
        assert_eq!(annotations["destructiveHint"], false);
        assert_eq!(annotations["idempotentHint"], true);
        assert_eq!(annotations["openWorldHint"], false);
        assert!(
            tool["description"]
                .as_str()
                .is_some_and(|text| text.len() > 40)
        );
    }
    let item = &tools[0]["outputSchema"]["properties"]["results"]["items"];
    assert_eq!(item["required"], json!(["id", "title", "url", "text"]));
    assert_eq!(
        tools[1]["outputSchema"]["required"],
        json!(["id", "title", "text", "url", "metadata"])
    );
}

#[test]
fn the_instructions_fit_into_512_characters() {
    let (_documents, _backend, client) = started();
    let instructions = client.initialized["instructions"].as_str().unwrap();
    assert!((1..=512).contains(&instructions.chars().count()));
}

#[test]
fn a_search_answers_with_one_text_that_equals_the_structure() {
    let (_documents, backend, mut client) = started();
    let result = client.call("search", json!({ "query": "how do I make icing?" }));
    assert_same_twice(&result);
    let first = &result["structuredContent"]["results"][0];
    let keys: Vec<_> = first
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["id", "text", "title", "url"]);
    assert_eq!(first["title"], "Baking guide — Icing");
    assert!(first["text"].as_str().unwrap().contains("butter and sugar"));
    let id = first["id"].as_str().unwrap();
    assert_eq!(
        first["url"],
        format!("http://{}/documents/{id}", backend.address)
    );
}

#[test]
fn a_fetch_answers_with_the_whole_document() {
    let (_documents, _backend, mut client) = started();
    let id = client.search("preheat")[0]["id"].clone();
    let result = client.call("fetch", json!({ "id": id }));
    assert_same_twice(&result);
    let document = &result["structuredContent"];
    assert_eq!(document["id"], id);
    assert_eq!(document["text"], GUIDE);
    assert_eq!(document["metadata"]["source"], "guide.md");
    assert!(
        document["metadata"]
            .as_object()
            .unwrap()
            .values()
            .all(Value::is_string)
    );
}

#[test]
fn a_record_keeps_its_url_and_metadata() {
    let (_documents, _backend, mut client) = started();
    let found = &client.search("lemon monday")[0];
    assert_eq!(found["url"], "https://example.com/o/1");
    let result = client.call("fetch", json!({ "id": found["id"] }));
    let document = &result["structuredContent"];
    assert_eq!(document["text"], "Twelve lemon cupcakes for Monday.");
    assert_eq!(document["url"], "https://example.com/o/1");
    assert_eq!(document["metadata"]["paid"], "false");
    assert_eq!(document["metadata"]["record"], "o-1");
}

#[test]
fn an_empty_query_gives_no_results_and_no_error() {
    let (_documents, _backend, mut client) = started();
    for query in ["", "  ", "?!", "\u{0}"] {
        let result = client.call("search", json!({ "query": query }));
        assert_eq!(only_text(&result), r#"{"results":[]}"#);
        assert_same_twice(&result);
    }
}

#[test]
fn any_text_is_a_query() {
    let (_documents, _backend, mut client) = started();
    for query in [
        "\"",
        "title:[x TO",
        "((((",
        "icing AND OR NOT",
        "a\\",
        "*",
        "\u{202e}x",
        &"icing ".repeat(2_000),
    ] {
        assert_same_twice(&client.call("search", json!({ "query": query })));
    }
    assert!(!client.search("body:\"icing\" AND (").is_empty());
}

#[test]
fn an_unknown_id_is_an_error_in_words() {
    let (_documents, _backend, mut client) = started();
    for id in [
        "",
        "nope",
        "00000000000000000000",
        "../../etc/passwd",
        "guide.md",
    ] {
        let result = client.call("fetch", json!({ "id": id }));
        assert_eq!(result["isError"], true, "{id}");
        let sentence = only_text(&result);
        assert!(
            sentence.ends_with('.') && sentence.contains("id"),
            "{sentence}"
        );
        assert!(
            id.is_empty() || !sentence.contains(id),
            "hostile text comes back: {sentence}"
        );
        assert!(result.get("structuredContent").is_none());
    }
}

#[test]
fn arguments_that_do_not_fit_are_an_error_that_names_the_right_one() {
    let (_documents, _backend, mut client) = started();
    for arguments in [
        json!({}),
        json!({ "query": 3 }),
        json!({ "query": "x", "limit": 5 }),
        json!({ "id": "x" }),
    ] {
        let result = client.call("search", arguments);
        assert_eq!(result["isError"], true);
        assert!(only_text(&result).contains("\"query\""));
    }
    let answer = client.ask("tools/call", json!({ "name": "delete", "arguments": {} }));
    assert_eq!(answer["error"]["code"], -32602);
}

#[test]
fn there_are_never_more_than_ten_results_and_no_long_snippets() {
    let many: Vec<(String, String)> = (0..40)
        .map(|n| {
            (
                format!("d{n}.txt"),
                format!("{} cupcake {}", "x ".repeat(n * 20), "y ".repeat(400)),
            )
        })
        .collect();
    let files: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let documents = Documents::new(&files);
    let backend = Backend::start(documents.path());
    let results = StatelessClient {
        address: backend.address,
    }
    .search("cupcakes");
    assert_eq!(results.len(), 10);
    for result in results {
        let snippet = result["text"].as_str().unwrap();
        assert!(
            snippet.contains("cupcake") && snippet.chars().count() <= 300,
            "{snippet}"
        );
    }
}

#[test]
fn a_long_document_is_read_in_parts() {
    let text: String = (0..8)
        .map(|n| {
            format!(
                "## Chapter {n}\n\n{}\n\n",
                format!("word{n} ").repeat(3_000)
            )
        })
        .collect();
    let documents = Documents::new(&[("long.md", &text)]);
    let backend = Backend::start(documents.path());
    let mut client = StatelessClient {
        address: backend.address,
    };
    let found = client.search("word5");
    let mut page =
        client.call("fetch", json!({ "id": found[0]["id"] }))["structuredContent"].clone();
    assert!(page["text"].as_str().unwrap().len() < 50_000);
    assert!(page["text"].as_str().unwrap().contains("word5"));
    while let Some(previous) = page["metadata"].get("previous") {
        page = client.call("fetch", json!({ "id": previous }))["structuredContent"].clone();
    }
    let mut read = page["text"].as_str().unwrap().to_owned();
    while let Some(next) = page["metadata"].get("next") {
        page = client.call("fetch", json!({ "id": next }))["structuredContent"].clone();
        read.push_str(page["text"].as_str().unwrap());
    }
    assert_eq!(read, text);
}

#[test]
fn the_url_opens_and_shows_the_text() {
    let (_documents, backend, mut client) = started();
    let url = client.search("preheat oven")[0]["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = url
        .strip_prefix(&format!("http://{}", backend.address))
        .unwrap();
    let page = wire::get(backend.address, path);
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Preheat to 180 degrees."));
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .starts_with("default-src 'none'")
    );
}

#[test]
fn a_base_url_of_the_operator_is_used() {
    let documents = Documents::new(&[("guide.md", GUIDE)]);
    let backend = Backend::start_with(
        documents.path(),
        &["--base-url", "https://docs.example.com/{path}#{section}"],
    );
    let results = StatelessClient {
        address: backend.address,
    }
    .search("icing butter");
    assert_eq!(results[0]["url"], "https://docs.example.com/guide.md#icing");
}

#[test]
fn the_sample_documents_answer_what_they_are_asked() {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../conf/documents");
    let backend = Backend::start(samples.as_ref());
    let mut client = StatelessClient {
        address: backend.address,
    };
    for (question, title) in [
        (
            "What does the gateway do when the store is down?",
            "When the store is down",
        ),
        ("How do I add it to ChatGPT?", "ChatGPT"),
        ("how long does an access token live", "How long it lives"),
        ("Missing access token invalid_grant", "Missing access token"),
        ("several backends", "Several backends"),
    ] {
        let titles: Vec<_> = client
            .search(question)
            .iter()
            .map(|found| found["title"].as_str().unwrap().to_owned())
            .collect();
        assert!(
            titles.iter().take(3).any(|found| found.contains(title)),
            "{question}: {titles:?}"
        );
    }
    let unpaid = client.search("unpaid cupcake orders");
    assert!(
        unpaid[0]["url"]
            .as_str()
            .unwrap()
            .starts_with("https://example.com/orders/"),
        "{unpaid:?}"
    );
}
