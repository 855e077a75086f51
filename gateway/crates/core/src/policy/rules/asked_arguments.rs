//! Which arguments a policy asks about.

use mcp_protocol::arguments::{Arguments, Paths};

/// Which arguments a policy asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AskedArguments {
    /// Those at these paths.
    At(Paths),
    /// Any of them.
    All,
}

impl AskedArguments {
    pub(super) fn asks_for(&self, path: &str) -> bool {
        match self {
            Self::At(paths) => paths.contains(path),
            Self::All => true,
        }
    }

    /// Whether everything that is asked for is known, and no other argument could be taken for it.
    pub(super) fn are_clear(&self, arguments: &Arguments) -> bool {
        !arguments.are_unknowable()
            && match self {
                Self::At(paths) => !arguments.resemble(paths),
                Self::All => !arguments.have_twins(),
            }
    }
}
