//! A certificate ordered from an ACME server (RFC 8555) and renewed, shared by all replicas.
//!
//! `plan` says what is to be done, from the time and what the store holds; `order` is one order, from the
//! account to the chain; `follow` does what the plan says, serves what came of it, and is the one that
//! waits. The order itself is one replica's at a time (`gateway-store`, `certificates`), and the answer
//! to its challenge is in the store, so that any of them can give it.
//!
//! Owns: when and how a certificate is ordered. Not: the plain port on which the challenge is answered
//! (`gateway-proxy`, `plain_port`).

mod follow;
mod order;
mod plan;

pub use self::follow::{Following, follow};
