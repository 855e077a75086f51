//! What a decision is made from, besides token and calls.

use std::collections::BTreeSet;

use super::confirmed_token::AccessToken;
use super::refusal::Refusal;
use super::rules::{Decision, RequestedAction, Rules, Surroundings};
use crate::clock::Timestamp;
use crate::grants::{NotAllowed, ToolState};
use mcp_protocol::calls::Call;
use mcp_protocol::tool_definition::Labels;

/// By which older revisions subscribe to a resource. What 2026-07-28 says in one `subscriptions/listen` is
/// judged as both, before a backend of either.
pub const SUBSCRIBE: &str = "resources/subscribe";

/// What a decision needs to know besides token and calls.
#[derive(Clone, Copy, Debug)]
pub struct DecisionInput<'a> {
    /// The time.
    pub now: Timestamp,
    /// The tools that need an approval.
    pub approval_required: &'a BTreeSet<String>,
    /// The called tools that say that they change nothing; asked for only where that decides.
    /// `None`: the backend could not be asked.
    pub read_only_tools: Option<&'a BTreeSet<String>>,
    /// How the called tools stand at the backend, where the token has pins for them.
    pub tool_states: &'a [(String, ToolState)],
    /// The names that two tools of the backend have, as far as it is known.
    pub doubled: Option<&'a BTreeSet<String>>,
    /// The operator's policy, if there is one.
    pub policy: Option<Question<'a>>,
}

impl DecisionInput<'_> {
    /// Whatever the token is good for: which of two tools a call would run nobody can know.
    pub(super) fn refuse_doubled(&self, tool: &str) -> Result<(), Refusal> {
        if self.doubled.is_some_and(|names| names.contains(tool)) {
            Err(Refusal::Tool(tool.to_owned(), NotAllowed::Doubled))
        } else {
            Ok(())
        }
    }

    pub(super) fn current(&self, tool: &str) -> ToolState {
        let found = self.tool_states.iter().find(|(name, _)| name == tool);
        found.map_or(ToolState::Unknown, |(_, current)| *current)
    }
}

/// What the operator's policy is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The policy.
    pub rules: &'a Rules,
    /// Who asks, where and when.
    pub around: Surroundings<'a>,
    /// What the called tools say about their effects; asked for only where the policy asks.
    /// `None`: the backend could not be asked.
    pub labels: Option<&'a [(String, Labels)]>,
    /// What a request without a message is for.
    pub without_message: RequestedAction<'a>,
}

impl Question<'_> {
    pub(super) fn judge(
        &self,
        token: &AccessToken,
        call: Option<&Call>,
    ) -> Result<Decision, Refusal> {
        let Some(call) = call else {
            return Ok(self.ask(token, &self.without_message));
        };
        let labels = match (call.tool(), self.labels) {
            // What the tool may say could change what the policy says.
            (Some(tool), None) if self.rules.asks_for_labels() => {
                return Err(Refusal::Tool(tool.to_owned(), NotAllowed::Unknown));
            }
            (Some(tool), Some(labels)) => labels.iter().find(|(name, _)| name == tool),
            _ => None,
        };
        let labels = labels.map_or_else(Labels::default, |(_, labels)| *labels);
        let asked = RequestedAction::from_call(call, labels);
        let mut decision = None;
        // Each resource that it names for itself: what covers one covers no other.
        for uri in &call.resources {
            for method in [SUBSCRIBE, asked.method] {
                let name = Some(uri.as_str());
                let named = RequestedAction {
                    method,
                    name,
                    ..asked
                };
                let about = self.ask(token, &named);
                if !about.is_allowed() {
                    return Ok(about);
                }
                decision = Some(about);
            }
        }
        Ok(decision.unwrap_or_else(|| self.ask(token, &asked)))
    }

    fn ask(&self, token: &AccessToken, asked: &RequestedAction<'_>) -> Decision {
        self.rules.judge_for(token.last_id(), &self.around, asked)
    }
}
