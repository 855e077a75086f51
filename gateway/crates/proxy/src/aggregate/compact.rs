//! A search in place of very many tools. What is found is what the members list to this token, and what is
//! called is called at its member as if the app had named it itself.

use std::sync::Arc;

use mcp_protocol::members::{
    CALL_TOOL, Listed, OWN_TOOLS, SEARCH_TOOLS, call_of, found, own_tools,
};
use mcp_protocol::{Message, Object, RpcError, code};

use super::{Asked, Unanswered};

/// A call of one of the two tools.
pub(super) enum OwnCall {
    /// Of the one that finds others.
    Search,
    /// It stands for this.
    Call(Box<Message>),
    /// It is none.
    Wrong(RpcError),
}

impl Asked {
    /// The list of tools, where it may be too long to be shown.
    pub(super) async fn list_compactly(
        self: Arc<Self>,
        most: usize,
    ) -> Result<Message, Unanswered> {
        let (pages, is_complete) = self.every_page(Listed::Tools).await?;
        let mut all = Listed::Tools.merged(self.members(), &pages, is_complete);
        let count = Listed::Tools.entries(&all).len();
        if count > most {
            all = own_tools(count);
        }
        all.remove("nextCursor");
        Ok(Message::result(&self.id, &all))
    }

    /// What a call is, if it is one of the two tools'.
    pub(super) fn own_call(&self) -> Option<OwnCall> {
        let name = self.message.params().text("name")?;
        self.aggregate.compact?;
        if !OWN_TOOLS.contains(&name.as_str()) {
            return None;
        }
        if name == SEARCH_TOOLS {
            return Some(OwnCall::Search);
        }
        let sentence = format!("{CALL_TOOL} takes the name of a tool, and its arguments");
        let wrong = || OwnCall::Wrong(RpcError::new(code::INVALID_PARAMS, &sentence));
        Some(call_of(&self.message).map_or_else(wrong, |call| OwnCall::Call(Box::new(call))))
    }

    /// The tools that have the words that are looked for.
    pub(super) async fn search(self: Arc<Self>) -> Result<Message, Unanswered> {
        let arguments: Object = self
            .message
            .params()
            .object("arguments")
            .unwrap_or_default();
        let query = arguments.text("query").unwrap_or_default();
        let (pages, is_complete) = self.every_page(Listed::Tools).await?;
        let all = Listed::Tools.merged(self.members(), &pages, is_complete);
        let result = found(&Listed::Tools.entries(&all), &query);
        Ok(Message::result(&self.id, &result))
    }
}
