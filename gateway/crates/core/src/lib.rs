//! What the gateway decides with, and what it says: values and pure decisions. Time and randomness
//! come in as arguments; nothing here waits, opens a socket or reads a file.
//!
//! Owns: the words of OAuth ([`protocol`]), clients, grants, access tokens, the policy that turns a
//! confirmed token and a call into a permit, limits of calls, audit records and their chain, reasons, time,
//! secrets.
//! Not: what is kept (`gateway-store`), what is served (`gateway-oauth`, `gateway-proxy`), JSON-RPC
//! and MCP (`mcp-protocol`).
//!
//! Begin at [`policy::decide`].
//!
//! # The operator's policy
//!
//! [`policy::rules`] reads a file of Datalog once, with all its faults, and judges a call by facts
//! that the gateway alone states (`policy/rules/vocabulary.rs` lists them; the proxy's `policy_input`
//! gathers them). [`policy::decide`] asks it last, about every message and every stream that is opened:
//! it can only take away. `policy/rules/compiled.rs` decides about a call; Biscuit's authorizer, which
//! would have to be built for each, stays the reference. `policy/rules/listing.rs` derives from a policy
//! what holds of a tool whatever its arguments are, by which lists are cut. [`policy::PolicyHandle`] is
//! where everybody takes it from.
//! The evaluator wants plain values and no token, so `gateway explain` and dry runs ask the same one;
//! `policy/rules/partial_evaluation.rs` decides where facts are missing.
//!
//! # Scopes
//!
//! [`policy::ScopeTable`] holds the tables `[scope.NAME]`, for each backend its [`policy::Scopes`]: what
//! a request is granted, what an operation needs, what the challenges name. Every confirmed token
//! carries them with it, so that lists and calls are judged alike. Without tables `mcp` covers
//! everything, as it always does for tokens that have it. What another scope would cover is the one
//! refusal that is HTTP (403), and the one that lists don't hide.

pub mod access_token;
pub mod account;
pub mod address;
pub mod audit;
pub mod browser_session;
pub mod client;
pub mod clock;
pub mod grants;
pub mod handle;
pub mod hex;
pub mod limits;
pub mod login_rules;
pub mod open_files;
pub mod policy;
pub mod protocol;
pub mod reason;
pub mod secret;
mod text_type;
