//! Biscuit's authorizer, with the limits and the operations of this gateway.

use std::time::Duration;

use biscuit_auth::AuthorizerLimits;
use biscuit_auth::builder::{AuthorizerBuilder, Fact};
use biscuit_auth::error::Token;

use super::patterns;

/// What an evaluation may cost. The time is tested between steps only, so what a policy may say is
/// bounded by the reader as well.
pub(super) const LIMITS: AuthorizerLimits = AuthorizerLimits {
    max_facts: 4000,
    max_iterations: 100,
    max_time: Duration::from_millis(100),
};

/// What a prepared policy decides over these facts: the number of the policy that allows.
pub(super) fn authorize(prepared: &AuthorizerBuilder, facts: &[Fact]) -> Result<usize, Token> {
    let mut builder = prepared.clone();
    for fact in facts {
        builder = builder.fact(fact.clone())?;
    }
    builder.build_unauthenticated()?.authorize()
}

/// A builder with the limits and with what patterns mean here.
pub(super) fn builder() -> AuthorizerBuilder {
    patterns::registered(AuthorizerBuilder::new().set_limits(LIMITS))
}
