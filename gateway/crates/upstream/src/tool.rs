//! A tool as its backend describes it, and all tools that it lists.

use std::collections::BTreeSet;

use serde_json::json;

use super::catalogue_error::CatalogueError;
use gateway_core::grants::{Pin, PinKey, ToolState};
use mcp_protocol::lenient;
use mcp_protocol::scan::{Scan, shown_text};
use mcp_protocol::tool_definition::{Definition, Labels, Unfit};

/// A tool as the backend describes it. Everything is the backend's own claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name, title, description and hints, for people.
    pub shown: ToolDescription,
    /// All that it says.
    pub definition: Definition,
    /// Stands for all that it says.
    pub pin: Pin,
    /// All that it says, as JSON, for people who want to see it; `None` if that is very long.
    pub whole: Option<Box<str>>,
    /// The resources that it names as its user interface (`ui://…`).
    pub interfaces: Vec<String>,
    /// Whose it is, where several backends are offered together.
    pub of: Option<MemberTool>,
}

/// Whose a tool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberTool {
    /// The name of the backend.
    pub member: String,
    /// What that calls it.
    pub name: String,
}

/// A backend whose tools are not among those of all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub member: String,
    /// What the names of its tools begin with.
    pub start: String,
    /// Why not.
    pub why: CatalogueError,
}

/// The longest definition that is kept to be shown, in bytes.
const LONGEST_SHOWN: usize = 16 * 1024;

/// What people are shown of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolDescription {
    /// What calls name it by.
    pub name: String,
    /// What people may call it.
    pub title: Option<String>,
    /// What it does, written for a model.
    pub description: Option<String>,
    /// Hints about its effects.
    pub annotations: Annotations,
}

impl Tool {
    /// Reads one element of `tools`. [`Unfit`] for one that can be read in two ways.
    pub(super) fn read(text: &str, pins: &PinKey) -> Result<Self, Unfit> {
        let definition = Definition::read(text)?;
        let whole = text.len() <= LONGEST_SHOWN;
        Ok(Self {
            shown: ToolDescription::from_definition(text, definition.name()),
            pin: pins.pin(&definition),
            definition,
            whole: whole.then(|| compact(text).into_boxed_str()),
            interfaces: interfaces(&json!({"_meta": meta(text)})),
            of: None,
        })
    }
}

/// Where a tool names its user interface: MCP Apps in two spellings, and ChatGPT's.
const INTERFACES: [&str; 3] = [
    "/_meta/ui/resourceUri",
    "/_meta/ui~1resourceUri",
    "/_meta/openai~1outputTemplate",
];

fn interfaces(tool: &serde_json::Value) -> Vec<String> {
    INTERFACES
        .iter()
        .filter_map(|place| tool.pointer(place)?.as_str())
        .filter(|uri| is_interface(uri))
        .map(str::to_owned)
        .collect()
}

/// Whether a URI is one of a user interface that leads nowhere else, whoever reads it.
fn is_interface(uri: &str) -> bool {
    let Some(path) = uri.strip_prefix("ui://") else {
        return false;
    };
    let folded = path.to_ascii_lowercase();
    let is_plain = path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let is_spelled_out = !["%2e", "%2f", "%5c", "%25"]
        .iter()
        .any(|code| folded.contains(code));
    let is_inside = !path
        .split(['/', '?', '#'])
        .any(|part| part == "." || part == "..");
    is_plain && is_spelled_out && is_inside
}

impl std::ops::Deref for Tool {
    type Target = ToolDescription;

    fn deref(&self) -> &ToolDescription {
        &self.shown
    }
}

/// What `_meta` says, where it can be read as plain values.
fn meta(tool: &str) -> serde_json::Value {
    let meta = member(tool, "_meta").and_then(|meta| serde_json::from_str(meta).ok());
    meta.unwrap_or_default()
}

/// The same JSON without white space, where it can be read as plain values.
fn compact(text: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(text);
    value.map_or_else(|_| text.to_owned(), |value| value.to_string())
}

/// A member of an object, where it is there and not `null`.
fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let members = Scan::new(object, 0).members().ok()?;
    let (_, place) = members.into_iter().find(|(key, _)| key == name)?;
    Some(&object[place]).filter(|text| *text != "null")
}

impl ToolDescription {
    /// What is shown of a tool that has a definition. A member of another kind than MCP says is not
    /// shown, and says nothing.
    fn from_definition(tool: &str, name: &str) -> Self {
        let text = |name: &str| member(tool, name).and_then(shown_text);
        Self {
            name: name.to_owned(),
            title: text("title"),
            description: text("description"),
            annotations: member(tool, "annotations")
                .map_or_else(Annotations::default, Annotations::from_text),
        }
    }

    /// What to call it before people.
    pub fn display_name(&self) -> &str {
        let title = self.title.as_deref().or(self.annotations.title.as_deref());
        title
            .filter(|title| !title.trim().is_empty())
            .unwrap_or(&self.name)
    }
}

/// Tool annotations (MCP schema, `ToolAnnotations`): hints, not promises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Another place for a title.
    pub title: Option<String>,
    /// It changes nothing.
    pub read_only_hint: Option<bool>,
    /// It may destroy something. Where absent, it may.
    pub destructive_hint: Option<bool>,
    /// Doing it twice is doing it once.
    pub idempotent_hint: Option<bool>,
    /// It reaches beyond the backend, such as to the internet. Where absent, it may.
    pub open_world_hint: Option<bool>,
}

impl Annotations {
    fn from_text(annotations: &str) -> Self {
        let hint = |name: &str| match member(annotations, name)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        Self {
            title: member(annotations, "title").and_then(shown_text),
            read_only_hint: hint("readOnlyHint"),
            destructive_hint: hint("destructiveHint"),
            idempotent_hint: hint("idempotentHint"),
            open_world_hint: hint("openWorldHint"),
        }
    }
}

/// Who a backend says it is, and its tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolListing {
    /// `serverInfo.name`.
    pub name: String,
    /// `serverInfo.version`.
    pub version: String,
    /// All pages of its `tools/list`, without those that share a name.
    pub tools: Vec<Tool>,
    /// The names that two tools have: which of them a call would run nobody can know, so neither is
    /// offered.
    pub doubled: BTreeSet<String>,
    /// What it lists and can't be offered: the first hundred.
    pub unfit: Vec<Unfit>,
    /// Of several backends that are offered together, those whose tools are not known now.
    pub missing: Vec<Missing>,
}

impl ToolListing {
    /// An offer of what was listed.
    pub fn new(name: String, version: String, listed: Vec<Tool>) -> Self {
        let doubled = doubled(listed.iter().map(|tool| tool.name.as_str()));
        let mut tools = listed;
        tools.retain(|tool| !doubled.contains(&tool.name));
        Self {
            name,
            version,
            tools,
            doubled,
            unfit: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// A tool that has its name from one that can't be offered is no more to be told apart.
    pub(super) fn double_with_unfit(&mut self) {
        let unfit: BTreeSet<&str> = self.unfit.iter().filter_map(Unfit::name).collect();
        let (kept, doubled): (Vec<Tool>, Vec<Tool>) = std::mem::take(&mut self.tools)
            .into_iter()
            .partition(|tool| !unfit.contains(tool.name.as_str()));
        self.tools = kept;
        self.doubled
            .extend(doubled.into_iter().map(|tool| tool.shown.name));
    }

    /// The tool of this name, if it is there.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// Whether a tool of this name is there, or one that a lenient reader takes it for.
    pub fn lists_alike(&self, name: &str) -> bool {
        self.tool(name).is_some() || {
            let folded = lenient::fold(name);
            let mut tools = self.tools.iter();
            tools.any(|tool| lenient::fold(&tool.name) == folded)
        }
    }

    /// What a tool says about its effects. `None` if it is not there.
    pub fn labels(&self, name: &str) -> Option<Labels> {
        let tools = self.tools.iter().filter(|tool| tool.name == name);
        tools
            .map(|tool| tool.definition.labels())
            .reduce(Labels::of_both)
    }

    /// How a tool stands.
    pub fn current(&self, name: &str) -> ToolState {
        let is_missing = |missing: &Missing| name.starts_with(&missing.start);
        match self.tool(name) {
            Some(tool) => ToolState::Defined(tool.pin),
            None if self.missing.iter().any(is_missing) => ToolState::Unknown,
            None => ToolState::Gone,
        }
    }
}

/// The names that stand there more than once.
pub fn doubled<'n>(names: impl Iterator<Item = &'n str>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    names
        .filter(|name| !seen.insert(*name))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_names_its_interface_in_one_of_three_places() {
        for meta in [
            json!({"ui": {"resourceUri": "ui://a/b.html?v=2"}}),
            json!({"ui/resourceUri": "ui://a/b.html?v=2"}),
            json!({"openai/outputTemplate": "ui://a/b.html?v=2"}),
        ] {
            let tool = json!({"name": "look", "_meta": meta});
            assert_eq!(interfaces(&tool), ["ui://a/b.html?v=2"]);
        }
        for uri in [
            "file:///etc/passwd",
            "UI://a",
            "ui:/a",
            "https://a/ui://b",
            "ui://a/../b",
            "ui://a/.",
            "ui://../b",
            "ui://a/%2E%2e/b",
            "ui://a%2fb",
            "ui://a%252e",
            "ui://a\\..\\b",
            "ui://a\u{0}b",
            "ui://a b",
            "ui://\u{ff0e}\u{ff0e}/a",
        ] {
            let meta = json!({"ui": {"resourceUri": uri}, "openai/outputTemplate": [uri]});
            assert!(interfaces(&json!({"_meta": meta})).is_empty(), "{uri}");
        }
    }
}
