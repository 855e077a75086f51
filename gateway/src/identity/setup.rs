//! The one-time setup code of the first owner.

/// The set-up of the first owner.
#[derive(Clone, Debug, Default)]
pub struct Setup {}
