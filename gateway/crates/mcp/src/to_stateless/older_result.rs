//! A result of 2026-07-28 in words that clients with sessions read.
//!
//! They know objects where 2026-07-28 has any JSON: for the schema of what a tool puts out, and for what it
//! puts out (2025-11-25, Structured Content). One that is something else costs them the whole result, with
//! all other tools of a list.

use serde_json::value::{RawValue, to_raw_value};

use crate::object::Object;

/// Takes out of the result of a request of this method what such clients do not know.
pub(super) fn cut(method: &str, result: &mut Object) {
    for name in ["resultType", "ttlMs", "cacheScope"] {
        result.remove(name);
    }
    match method {
        "tools/list" => cut_list(result),
        "tools/call" => cut_answer(result),
        _ => {}
    }
}

fn cut_list(result: &mut Object) {
    let Some(mut tools) = result.read::<Vec<Box<RawValue>>>("tools") else {
        return;
    };
    let mut is_cut = false;
    for tool in &mut tools {
        if let Some(shorter) = without_foreign_schema(tool) {
            *tool = shorter;
            is_cut = true;
        }
    }
    // A list that all can read stays as it was sent.
    if is_cut {
        result.set("tools", &tools);
    }
}

/// The tool without the schema of what it puts out, if that is not the schema of an object.
fn without_foreign_schema(tool: &RawValue) -> Option<Box<RawValue>> {
    let mut tool = Object::parse(tool.get())?;
    let schema = tool.remove("outputSchema")?;
    let kind = Object::parse(schema.get()).and_then(|schema| schema.text("type"));
    if kind.as_deref() == Some("object") {
        return None;
    }
    to_raw_value(&tool).ok()
}

fn cut_answer(result: &mut Object) {
    if result.object("structuredContent").is_some() {
        return;
    }
    let Some(structured) = result.remove("structuredContent") else {
        return;
    };
    let mut content: Vec<Box<RawValue>> = result.read("content").unwrap_or_default();
    // Servers say the same as a text, but are not bound to.
    if !content.iter().any(|block| is_text(block)) {
        let text = Object::new()
            .with("type", "text")
            .with("text", structured.get());
        content.extend(to_raw_value(&text));
        result.set("content", &content);
    }
}

fn is_text(block: &RawValue) -> bool {
    let kind = Object::parse(block.get()).and_then(|block| block.text("type"));
    kind.as_deref() == Some("text")
}
