//! The pages of a list of tools, put together.

use gateway_core::grants::PinKey;
use mcp_protocol::tool_definition::Unfit;
use mcp_protocol::tool_list;
use serde_json::{Value, json};

use super::ServerInfo;
use crate::catalogue_error::CatalogueError;
use crate::tool::{Tool, ToolListing};

/// Bounds on what a backend may list.
const MOST_PAGES: usize = 50;
const MOST_TOOLS: usize = 2000;
const MOST_UNFIT: usize = 100;

/// The pages of one `tools/list`.
#[derive(Default)]
pub(super) struct Pages {
    tools: Vec<Tool>,
    unfit: Vec<Unfit>,
    cursor: Option<String>,
    asked: usize,
    done: bool,
}

impl Pages {
    /// The id of the next request, counted from 2; `None` when there is nothing more to ask.
    pub(super) fn next_id(&self) -> Option<u64> {
        let more = !self.done && self.asked < MOST_PAGES && self.tools.len() < MOST_TOOLS;
        more.then_some(self.asked as u64 + 2)
    }

    pub(super) fn request(&self, mut params: Value) -> Value {
        if let Some(cursor) = &self.cursor {
            params["cursor"] = json!(cursor);
        }
        json!({"jsonrpc": "2.0", "id": self.next_id(), "method": "tools/list", "params": params})
    }

    pub(super) fn add(
        &mut self,
        result: &str,
        pins: Option<&PinKey>,
    ) -> Result<(), CatalogueError> {
        let page = tool_list::page(result).map_err(CatalogueError::BadList)?;
        if let Some(pins) = pins {
            for tool in page.tools {
                match Tool::read(tool, pins) {
                    Ok(tool) => self.tools.push(tool),
                    Err(unfit) => self.unfit.push(unfit),
                }
            }
        }
        self.tools.truncate(MOST_TOOLS);
        self.unfit.truncate(MOST_UNFIT);
        self.asked += 1;
        self.done = page.next_cursor.is_none() || page.next_cursor == self.cursor;
        self.cursor = page.next_cursor;
        Ok(())
    }

    pub(super) fn listing(self, info: ServerInfo) -> ToolListing {
        let mut listing = ToolListing {
            unfit: self.unfit,
            ..ToolListing::new(info.name, info.version, self.tools)
        };
        listing.double_with_unfit();
        for tool in &listing.doubled {
            log::warn!(
                event = "tool_name_doubled", tool = tool.as_str(), server = listing.name.as_str(),
                hint = "give each tool of the backend a name of its own";
                "two tools have one name: neither is offered"
            );
        }
        listing
    }
}
