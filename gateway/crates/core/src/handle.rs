//! What is in force: replaced as a whole, while whoever took what was before goes on with it.

use std::sync::Arc;

use parking_lot::RwLock;

/// Where a value stands from which everybody takes it. Cheap to clone; `current` clones the value, so it had
/// better be an `Arc`.
#[derive(Clone, Debug, Default)]
pub struct Handle<T>(Arc<RwLock<T>>);

impl<T: Clone> Handle<T> {
    /// Puts this in force.
    pub fn new(value: impl Into<T>) -> Self {
        Self(Arc::new(RwLock::new(value.into())))
    }

    /// What is in force at this moment. Take it once for each decision.
    pub fn current(&self) -> T {
        self.0.read().clone()
    }

    /// Puts another in its place, from the next decision on.
    pub fn replace(&self, value: impl Into<T>) {
        *self.0.write() = value.into();
    }
}
