//! End to end: the real `gateway` binary, driven over HTTP. A module a part of the
//! URL space, then the attacks; a test's name is the requirement it holds.

mod account;
mod admin;
mod apps;
mod audit;
mod authorize;
mod config;
mod consent;
mod dry_run;
mod eras;
mod everywhere;
mod explain;
mod hostile_bodies;
mod hostile_framing;
mod hostile_sessions;
mod hostile_tokens;
mod identity;
mod introspect;
mod legacy;
mod login;
mod mcp;
mod narrowing;
mod operator;
mod policy;
mod quickstart;
mod redis;
mod refresh;
mod register;
mod restart;
mod revoke;
mod scopes;
mod setup;
mod sse;
mod token;
mod tools;
mod well_known;
