//! Whether a call may reach a backend. Pure: what is known about token, grant and message goes in,
//! a [`Permit`] or the reason against it comes out. Without a permit there is no exchange with a
//! backend: it takes one by value.
//!
//! Owns: the order of the questions and their answers (`decide`). Not: reading the request (`proxy`),
//! signatures (`access_token`), what was revoked (the store's view), what the operator's policy says
//! ([`rules`]).

mod confirmed_token;
mod decide;
mod harmless;
mod input;
mod refusal;
pub mod rules;
mod scopes;

use std::sync::Arc;

use crate::handle::Handle;

pub use self::confirmed_token::{
    AccessToken, Audience, RevocationStatus, TokenRejection, VIEW_LIFETIME,
};
pub use self::decide::{Delegation, Permit, Refused, decide, let_members_decide, needs_approval};
pub use self::input::{DecisionInput, Question, SUBSCRIBE};
pub use self::refusal::Refusal;
pub use self::scopes::{
    Coverage, Operation, Pattern, ScopeFault, ScopeRule, ScopeTable, ScopedTools, Scopes,
};

/// Where the policy stands that is in force, if there is one.
pub type PolicyHandle = Handle<Option<Arc<rules::Rules>>>;

#[cfg(test)]
mod members_tests;
#[cfg(test)]
mod tests;
