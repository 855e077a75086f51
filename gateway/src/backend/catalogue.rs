//! What a backend offers: its live `tools/list`.

/// Asks backends for their tools.
#[derive(Debug, Default)]
pub struct Catalogue {}
