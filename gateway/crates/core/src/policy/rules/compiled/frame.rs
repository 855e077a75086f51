//! What a decision works with, and why none is made.

use crate::policy::rules::value::Value;

/// The most variables that a statement may have.
pub(super) const SLOTS: usize = 16;

/// Why nothing is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EvaluationError {
    /// The reference can't evaluate it either.
    Undefined,
    /// What the reference makes of it is not known here.
    Unsure,
}

/// What a decision works with.
pub(super) struct Frame<'f> {
    pub(super) slots: Vec<Value<'f>>,
    pub(super) steps: u32,
}

impl Frame<'_> {
    /// Another fact or member was looked at; [`EvaluationError::Unsure`] after too many.
    pub(super) fn step(&mut self) -> Result<(), EvaluationError> {
        self.steps = self.steps.checked_sub(1).ok_or(EvaluationError::Unsure)?;
        Ok(())
    }
}
