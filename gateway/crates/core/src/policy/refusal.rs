//! Why a call is refused.

use super::rules::{Decision, Effect, Failure, Statement};
use crate::access_token::FailedCheck;
use crate::grants::NotAllowed;
use crate::protocol::scope::Scope;
use crate::reason::Reason;

/// Why a call is refused although the token counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token's scope does not cover this; this one would.
    #[error("the scope does not cover this, {0} would")]
    Scope(Scope),
    /// No scope of the configuration covers this tool.
    #[error("no scope covers the tool")]
    Unscoped(String),
    /// The user did not allow this tool, or not as it is now.
    #[error("{1}")]
    Tool(String, NotAllowed),
    /// A token for chosen tools does not cover this method.
    #[error("the method is not allowed")]
    Method(String),
    /// The backend has asked nothing that this answers.
    #[error("an answer that nobody asked for")]
    Answer,
    /// Whoever narrowed the token left this out.
    #[error("the token was narrowed: {0}")]
    Narrowed(FailedCheck),
    /// The tool needs an approval.
    #[error("the tool needs an approval")]
    Approval(String),
    /// The operator's policy does not allow this method, or could not be asked.
    #[error("the policy: {}", described(.1))]
    Policy(String, Box<Decision>),
}

/// What a policy decided, for the log.
fn described(decision: &Decision) -> String {
    match (&decision.effect, decision.failed.first(), &decision.by) {
        (Effect::Failed(failure), ..) => failure.to_string(),
        (_, Some(check), _) => format!("{check} does not hold"),
        (_, None, Some(rule)) => format!("{rule} denies it"),
        (_, None, None) => "nothing allows it".to_owned(),
    }
}

impl Refusal {
    /// For the log.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Scope(_) => Reason::ScopeInsufficient,
            Self::Unscoped(_) => Reason::ToolInNoScope,
            Self::Tool(_, why) => why.reason(),
            Self::Method(_) => Reason::RpcMethodNotAllowed,
            Self::Answer => Reason::AnswerUnasked,
            Self::Narrowed(_) => Reason::TokenNarrowed,
            Self::Approval(_) => Reason::ApprovalMissing,
            Self::Policy(_, decision) => match &decision.effect {
                Effect::Failed(Failure::Arguments | Failure::Name) => {
                    Reason::PolicyArgumentsUnclear
                }
                Effect::Failed(_) => Reason::PolicyFailed,
                Effect::Allowed | Effect::Denied => Reason::PolicyDenied,
            },
        }
    }

    /// The statement of the operator's policy that it rests on.
    pub fn rule(&self) -> Option<&Statement> {
        match self {
            Self::Policy(_, decision) => decision.place(),
            _ => None,
        }
    }
}
