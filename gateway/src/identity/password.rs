//! Password hashing: argon2id on a bounded pool of blocking threads.

/// Hashes and checks passwords.
#[derive(Clone, Debug, Default)]
pub struct Passwords {}
