//! MCP servers that people run, unchanged, behind the real gateway: each is started as its
//! documentation says, an official SDK logs in through the real pages, lists its tools and calls
//! them, at the root and under a prefix; and what is peculiar to it is looked at on the wire.
//!
//! | module | owns |
//! |---|---|
//! | [`front`] | the gateway in front of one server, and the same question asked with and without it |
//! | [`node`] | servers on Node |
//! | [`python`] | servers on Python |
//! | [`readme`] | README's table of them |

mod front;
mod node;
mod python;
mod readme;
