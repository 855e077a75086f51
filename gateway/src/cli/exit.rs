//! Exit codes of sysexits.h.

/// The configuration is wrong (`EX_USAGE` of sysexits.h).
pub(in crate::cli) const USAGE: u8 = 64;
/// Something that the gateway needs is not there (`EX_UNAVAILABLE`).
pub(in crate::cli) const UNAVAILABLE: u8 = 69;
