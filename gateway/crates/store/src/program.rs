//! What this program calls itself.

/// The program that writes, as records name it.
pub(crate) const PROGRAM: &str = concat!("gateway ", env!("CARGO_PKG_VERSION"));
