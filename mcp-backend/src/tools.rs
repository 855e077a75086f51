//! The two tools, `search` and `fetch`, by the contract ChatGPT checks: their definitions, their
//! arguments and their results. Transport-free.
//!
//! The schemas are written out, not derived: clients compare them word for word.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde::Serialize;
use serde_json::{Value, json};

use crate::address::{AddressTemplate, Addresses};
use crate::catalog::{FIRST_READING, Library};
use crate::document::DocumentId;
use crate::index::IndexError;
use crate::query::Query;

/// What the tools work on.
#[derive(Clone)]
pub struct Tools {
    library: Arc<Library>,
    addresses: Arc<Addresses>,
}

/// A tool call that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Find documents.
    Search(Query),
    /// Read one; `None` if no document can have the id.
    Fetch(Option<DocumentId>),
}

/// Why a call has no result. The sentence is read by the model.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such tool.
    #[error("There is no tool with this name. The tools are search and fetch.")]
    UnknownTool,
    /// The arguments are not what the schema asks for.
    #[error("The tool {tool} takes exactly one argument: \"{argument}\", a string.")]
    Arguments {
        /// The tool.
        tool: &'static str,
        /// What it takes.
        argument: &'static str,
    },
    /// No document has the id.
    #[error(
        "No document has this id. Ids come from the results of search; the document may have been removed since."
    )]
    UnknownId,
    /// The folder is being read for the first time, and nothing fits so far.
    #[error(
        "The documents are still being read, and nothing fits among those read so far. Try again in some seconds."
    )]
    StillReading,
    /// A fault of ours.
    #[error("The search failed on the server's side. Try again later.")]
    Index(#[from] IndexError),
}

#[derive(Serialize)]
struct SearchResult {
    results: Vec<SearchItem>,
}

#[derive(Serialize)]
struct SearchItem {
    id: String,
    title: String,
    url: String,
    text: String,
}

#[derive(Serialize)]
struct FetchResult {
    id: String,
    title: String,
    text: String,
    url: String,
    metadata: BTreeMap<String, String>,
}

impl Call {
    /// Reads a call; nothing but the one argument is accepted.
    ///
    /// # Errors
    /// Unknown tool, or arguments that do not fit its schema.
    pub fn parse(name: &str, arguments: Option<&JsonObject>) -> Result<Self, Refusal> {
        match name {
            "search" => only_string(arguments, "search", "query")
                .map(|query| Self::Search(Query::parse(query))),
            "fetch" => {
                only_string(arguments, "fetch", "id").map(|id| Self::Fetch(DocumentId::parse(id)))
            }
            _ => Err(Refusal::UnknownTool),
        }
    }
}

impl Tools {
    /// The tools over a library.
    pub fn new(library: Arc<Library>, addresses: Addresses) -> Self {
        Self {
            library,
            addresses: Arc::new(addresses),
        }
    }

    /// Waits a little while the folder is being read for the first time.
    pub async fn ready(&self) {
        self.library.whole_within(FIRST_READING).await;
    }

    /// Answers a call with the object that is its result. Takes milliseconds of computing. `pages`: where
    /// people open documents, as the gateway in front says with the call.
    ///
    /// # Errors
    /// Unknown id, or a damaged index.
    pub fn answer(&self, call: &Call, pages: Option<&str>) -> Result<Value, Refusal> {
        let addresses = self.addresses.for_call(pages);
        let result = match call {
            Call::Search(query) => serde_json::to_value(self.search(query, &addresses)?),
            Call::Fetch(id) => serde_json::to_value(self.fetch(id.as_ref(), &addresses)?),
        };
        Ok(result.expect("strings and maps with string keys always serialize"))
    }

    fn search(&self, query: &Query, addresses: &AddressTemplate) -> Result<SearchResult, Refusal> {
        let is_whole = self.library.is_whole();
        let found = self.library.catalog().search(query)?;
        if found.is_empty() && !is_whole {
            return Err(Refusal::StillReading);
        }
        let results = found
            .into_iter()
            .map(|found| SearchItem {
                title: found.entry.title(),
                url: addresses.address(&found.id, &found.entry),
                id: found.id.to_string(),
                text: found.snippet,
            })
            .collect();
        Ok(SearchResult { results })
    }

    fn fetch(
        &self,
        id: Option<&DocumentId>,
        addresses: &AddressTemplate,
    ) -> Result<FetchResult, Refusal> {
        let id = id.ok_or(Refusal::UnknownId)?;
        let is_whole = self.library.is_whole();
        let page = self.library.catalog().fetch(id);
        let page = page.ok_or(if is_whole {
            Refusal::UnknownId
        } else {
            Refusal::StillReading
        })?;
        Ok(FetchResult {
            id: id.to_string(),
            title: page.entry.title(),
            text: page.text,
            url: addresses.address(id, &page.entry),
            metadata: page.metadata,
        })
    }
}

/// The tools as `tools/list` shows them.
pub fn definitions() -> Vec<Tool> {
    let search = Tool::new(
        "search",
        "Search the documents by words; there is no query syntax. Returns up to ten results, best first, each with an id, a title, \
         a URL to cite and the words around the match. Use fetch with an id to read the text.",
        input_schema("query"),
    );
    let fetch = Tool::new(
        "fetch",
        "Read a document found by search. Returns its text, title, URL to cite and metadata. \
         A long document comes in parts: metadata.next and metadata.previous are the ids to fetch for the others.",
        input_schema("id"),
    );
    vec![
        finished(search, "Search documents", search_output_schema()),
        finished(fetch, "Fetch a document", fetch_output_schema()),
    ]
}

fn finished(tool: Tool, title: &str, output_schema: JsonObject) -> Tool {
    let annotations = ToolAnnotations::with_title(title)
        .read_only(true)
        .destructive(false)
        .idempotent(true)
        .open_world(false);
    tool.with_title(title)
        .with_raw_output_schema(Arc::new(output_schema))
        .with_annotations(annotations)
}

fn input_schema(argument: &str) -> JsonObject {
    object(json!({
        "type": "object",
        "properties": { argument: { "type": "string" } },
        "required": [argument],
        "additionalProperties": false,
    }))
}

fn search_output_schema() -> JsonObject {
    object(json!({
        "type": "object",
        "properties": {
            "results": {
                "type": "array",
                "maxItems": crate::catalog::MOST_RESULTS,
                "items": {
                    "type": "object",
                    "properties": {
                        "id": { "type": "string" },
                        "title": { "type": "string" },
                        "url": { "type": "string", "format": "uri" },
                        "text": { "type": "string" },
                    },
                    "required": ["id", "title", "url", "text"],
                    "additionalProperties": false,
                },
            },
        },
        "required": ["results"],
        "additionalProperties": false,
    }))
}

fn fetch_output_schema() -> JsonObject {
    object(json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "title": { "type": "string" },
            "text": { "type": "string" },
            "url": { "type": "string", "format": "uri" },
            "metadata": { "type": "object", "additionalProperties": { "type": "string" } },
        },
        "required": ["id", "title", "text", "url", "metadata"],
        "additionalProperties": false,
    }))
}

fn object(schema: Value) -> JsonObject {
    match schema {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}

fn only_string<'a>(
    arguments: Option<&'a JsonObject>,
    tool: &'static str,
    argument: &'static str,
) -> Result<&'a str, Refusal> {
    arguments
        .filter(|arguments| arguments.len() == 1)
        .and_then(|arguments| arguments.get(argument))
        .and_then(Value::as_str)
        .ok_or(Refusal::Arguments { tool, argument })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(value: Value) -> JsonObject {
        object(value)
    }

    #[test]
    fn exactly_one_string_is_accepted() {
        let call = Call::parse("search", Some(&arguments(json!({ "query": "cake" }))));
        assert_eq!(call.unwrap(), Call::Search(Query::parse("cake")));
        for wrong in [
            json!({}),
            json!({ "query": 1 }),
            json!({ "query": null }),
            json!({ "query": "a", "top_k": 5 }),
            json!({ "q": "a" }),
        ] {
            let refusal = Call::parse("search", Some(&arguments(wrong.clone()))).unwrap_err();
            assert!(refusal.to_string().contains("\"query\""), "{wrong}");
        }
        assert!(matches!(
            Call::parse("fetch", None),
            Err(Refusal::Arguments {
                tool: "fetch",
                argument: "id"
            })
        ));
        assert!(matches!(
            Call::parse("delete", None),
            Err(Refusal::UnknownTool)
        ));
    }

    #[test]
    fn what_is_not_read_yet_is_said_not_to_be() {
        use crate::folder::Folder;
        use crate::indexer::{ForcedFiles, Indexer};

        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.md"), "# A\n\nflour\n").unwrap();
        let mut indexer = Indexer::new(Folder::open(folder.path()).unwrap()).unwrap();
        let own = "https://example.com".parse().unwrap();
        let tools = Tools::new(indexer.library(), Addresses::new(None, own));
        let search = Call::Search(Query::parse("flour"));
        let fetch = Call::Fetch(Some(DocumentId::new("a.md", None, None)));
        for call in [&search, &fetch] {
            assert!(matches!(
                tools.answer(call, None),
                Err(Refusal::StillReading)
            ));
        }
        indexer.refresh(&ForcedFiles::default()).unwrap();
        assert!(tools.answer(&search, None).is_ok() && tools.answer(&fetch, None).is_ok());
        let nothing = tools
            .answer(&Call::Search(Query::parse("nowhere")), None)
            .unwrap();
        assert_eq!(nothing["results"], json!([]));
    }

    #[test]
    fn an_id_that_cannot_be_ours_is_still_a_call() {
        let call = Call::parse(
            "fetch",
            Some(&arguments(json!({ "id": "../../etc/passwd" }))),
        );
        assert_eq!(call.unwrap(), Call::Fetch(None));
    }
}
