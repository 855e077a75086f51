//! The official conformance suite (`@modelcontextprotocol/conformance`, pinned).
//!
//! Its server scenarios run against an MCP server twice, directly and through the
//! gateway, at each revision: what the suite finds has to be the same, check by check,
//! and everything that a revision scores has to pass. Its scenarios for authorization
//! servers run against the gateway itself.

mod authorization;
mod server;
mod suite;
