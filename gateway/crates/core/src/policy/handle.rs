//! The policy that is in force: replaced as a whole, while whoever is being judged by the old one
//! goes on with it.

use std::sync::Arc;

use parking_lot::RwLock;

use super::rules::Rules;

/// Where the policy stands from which everybody takes it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct PolicyHandle(Arc<RwLock<Option<Arc<Rules>>>>);

impl PolicyHandle {
    /// Puts a policy in force; `None`: there is none.
    pub fn new(rules: Option<Arc<Rules>>) -> Self {
        Self(Arc::new(RwLock::new(rules)))
    }

    /// The policy of this moment. Take it once for each decision.
    pub fn current(&self) -> Option<Arc<Rules>> {
        self.0.read().clone()
    }

    /// Puts another one in force, from the next decision on.
    pub fn replace(&self, rules: Option<Arc<Rules>>) {
        *self.0.write() = rules;
    }
}
