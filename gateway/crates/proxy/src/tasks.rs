//! Which tool a task is of, where no request stands beside the message that names it: answers on the
//! stream of HTTP+SSE, and what a backend says of tasks unasked. In memory, bounded, of this replica
//! alone: where it is lost a task keeps the backend's own name, which opens nothing to anybody.
//!
//! Owns: what is remembered. Not: the names that clients are given (`sessions`), where they stand in
//! messages (`client_names`).

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::holder::Holder;
use mcp_protocol::Id;
use mcp_protocol::calls::Call;

/// How much is remembered of either kind.
const REMEMBERED: usize = 8192;

/// What is longer is not remembered, in bytes.
const LONGEST: usize = 4096;

/// Backend, person, client, account there, then where a request was posted to, or nothing; then its id, or a task's.
type Key = [String; 6];

/// Whose tasks they are, and on which stream of HTTP+SSE, if on one.
#[derive(Clone, Copy)]
pub(super) struct TaskOwner<'a> {
    pub(super) holder: Holder<'a>,
    pub(super) conversation: &'a str,
}

#[derive(Debug)]
pub(super) struct Tasks {
    tools: Cache<Key, Arc<str>>,
    asked: Cache<Key, Arc<str>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            tools: Cache::new(REMEMBERED),
            asked: Cache::new(REMEMBERED),
        }
    }
}

impl Tasks {
    /// These calls are answered on a stream. What each is about counts then.
    pub(super) fn expect(&self, owner: TaskOwner<'_>, calls: &[Call]) {
        for call in calls {
            if let (Some(tool), Some(id)) = (call.concerns(), &call.id) {
                let key = key(owner, owner.conversation, &id.key());
                remember(&self.asked, key, tool);
            }
        }
    }

    /// The tool that an answer on the stream is about; told once.
    pub(super) fn answered(&self, owner: TaskOwner<'_>, id: &Id) -> Option<Arc<str>> {
        let key = key(owner, owner.conversation, &id.key());
        self.asked.remove(&key).map(|(_, tool)| tool)
    }

    /// A tool began this task.
    pub(super) fn began(&self, owner: TaskOwner<'_>, task: &str, tool: &str) {
        remember(&self.tools, key(owner, "", task), tool);
    }

    /// The tool that began a task of this client.
    pub(super) fn tool(&self, owner: TaskOwner<'_>, task: &str) -> Option<Arc<str>> {
        self.tools.get(&key(owner, "", task))
    }
}

fn remember(known: &Cache<Key, Arc<str>>, key: Key, tool: &str) {
    let length: usize = key.iter().map(String::len).sum();
    if length + tool.len() <= LONGEST {
        known.insert(key, tool.into());
    }
}

fn key(owner: TaskOwner<'_>, conversation: &str, id: &str) -> Key {
    let holder = owner.holder;
    [
        holder.mount.name.clone(),
        holder.claims.user.as_str().to_owned(),
        holder.claims.client.as_str().to_owned(),
        holder.account().to_owned(),
        conversation.to_owned(),
        id.to_owned(),
    ]
}
