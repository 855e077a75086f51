//! Lists of all members as one: each is asked at once, and whoever has not answered in time is left out.

use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::members::{Listed, Page, asked};
use mcp_protocol::{Message, Object, RpcError, code};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Asked;
use gateway_upstream::Failure;

/// How long a list waits for a member that did not answer last time.
const AWAY: Duration = Duration::from_secs(1);

/// How long a member is waited for that was left out, by nobody's request.
const LOOK: Duration = Duration::from_secs(30);

/// What one member says to a question for all.
pub(super) enum Said {
    /// This.
    Result(Object),
    /// It has nothing of that kind, or nothing for this token.
    Nothing,
    /// It does not answer.
    Away(String),
}

impl Asked {
    /// A page of a list.
    pub(super) async fn list(self: Arc<Self>, listed: Listed) -> Result<Message, RpcError> {
        let cursor = self.message.params().text("cursor");
        let members = self.members();
        let Some(asked) = asked(members, cursor.as_deref()) else {
            let error = RpcError::new(code::INVALID_PARAMS, "The cursor is none of this list");
            return Err(error);
        };
        let requests = asked.into_iter().map(|(member, cursor)| {
            let mut request = self.message.clone();
            request.edit_params(|params| match &cursor {
                Some(cursor) => params.set("cursor", cursor),
                None => drop(params.remove("cursor")),
            });
            (member, request)
        });
        let (pages, is_complete) = self.pages(requests.collect()).await;
        let result = listed.merged(self.members(), &pages, is_complete);
        Ok(Message::result(&self.id, &result))
    }

    /// What the members answer to these requests, in order; and whether all did that may be asked.
    pub(super) async fn pages(
        self: &Arc<Self>,
        requests: Vec<(usize, Message)>,
    ) -> (Vec<Page>, bool) {
        let mut asking = JoinSet::new();
        for (member, request) in requests {
            if self.leaves(member) {
                let asked = Arc::clone(self);
                asking.spawn(async move { (member, asked.say(member, request).await) });
            }
        }
        let (mut pages, mut is_complete) = (Vec::new(), true);
        while let Some(said) = asking.join_next().await {
            match said {
                Ok((member, Said::Result(result))) => {
                    self.note(member, None);
                    pages.push(Page { member, result });
                }
                Ok((member, Said::Nothing)) => self.note(member, None),
                Ok((member, Said::Away(why))) => {
                    self.note(member, Some(&why));
                    is_complete = false;
                }
                Err(_) => is_complete = false,
            }
        }
        pages.sort_by_key(|page| page.member);
        (pages, is_complete)
    }

    /// What a member says, in the time that a list has for it: less for one that did not answer last time.
    async fn say(self: Arc<Self>, member: usize, request: Message) -> Said {
        let name = &self.members().names()[member];
        let is_away = self.service.state.wholes.is_away(self.name(), name);
        let longest = self.whole.list_timeout;
        let patience = if is_away { longest.min(AWAY) } else { longest };
        match timeout(patience, self.answer_of(member, &request)).await {
            Ok(said) => said,
            Err(_) => {
                Arc::clone(&self).look_again(member, request);
                Said::Away(Failure::TimedOut("its list").to_string())
            }
        }
    }

    /// Waits for a member that was left out because it is slow: the next list waits for it again, if it
    /// answers at all.
    fn look_again(self: Arc<Self>, member: usize, request: Message) {
        let name = self.members().names()[member].clone();
        if !self.service.state.wholes.begin_look(self.name(), &name) {
            return;
        }
        tokio::spawn(async move {
            let answer = timeout(LOOK, self.answer_of(member, &request)).await;
            if matches!(answer, Ok(Said::Result(_) | Said::Nothing)) {
                self.note(member, None);
            }
            self.service.state.wholes.end_look(self.name(), &name);
        });
    }

    async fn answer_of(&self, member: usize, request: &Message) -> Said {
        let asked = async {
            let reply = self.ask(member, request).await?;
            let status = reply.status;
            reply.response().await.map(|response| (status, response))
        };
        match asked.await {
            Err(failure) => Said::Away(failure.to_string()),
            Ok((status, response)) => match (response.outcome(), response.failure()) {
                (Some(result), _) => Said::Result(result),
                // In another revision it is asked over a session, whose failure is an error in it.
                (None, Some(error)) if status >= 500 || error.code() == code::INTERNAL => {
                    Said::Away(error.message())
                }
                (None, _) => Said::Nothing,
            },
        }
    }
}
