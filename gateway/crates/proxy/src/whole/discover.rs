//! Who all members are together.

use std::sync::Arc;

use mcp_protocol::members::{Described, discovered};
use mcp_protocol::{Message, RpcError};

use super::Asked;

impl Asked {
    /// The answer to `server/discover`.
    pub(super) async fn discover(self: Arc<Self>) -> Result<Message, RpcError> {
        let all = 0..self.members().names().len();
        let requests = all.map(|member| (member, self.message.clone()));
        let (pages, is_complete) = self.pages(requests.collect()).await;
        let described: Vec<Described> = pages
            .into_iter()
            .map(|page| Described {
                member: page.member,
                result: page.result,
            })
            .collect();
        let server = (self.name(), env!("CARGO_PKG_VERSION"));
        let result = discovered(self.members(), &described, is_complete, server);
        Ok(Message::result(&self.id, &result))
    }
}
