//! Who all members are together.

use std::sync::Arc;

use mcp_protocol::Message;
use mcp_protocol::members::{Described, discovered};

use super::{Asked, Unanswered};

impl Asked {
    /// The answer to `server/discover`.
    pub(super) async fn discover(self: Arc<Self>) -> Result<Message, Unanswered> {
        let all = 0..self.members().names().len();
        let requests = all.map(|member| (member, self.message.clone()));
        let answers = self.pages(requests.collect()).await.of_somebody()?;
        let pages = self.kept(answers.given).into_iter();
        let described: Vec<Described> = pages
            .map(|page| Described {
                member: page.member,
                result: page.result,
            })
            .collect();
        let server = (self.name(), env!("CARGO_PKG_VERSION"));
        let result = discovered(self.members(), &described, answers.is_complete, server);
        Ok(Message::result(&self.id, &result))
    }
}
