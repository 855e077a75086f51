//! MCP servers that people run, unchanged, behind the real gateway: each is started as its
//! documentation says, an official SDK logs in through the real pages, lists its tools and calls
//! them, at the root and under a prefix; and what is peculiar to it is looked at on the wire.
//!
//! | module | owns |
//! |---|---|
//! | [`doctor`] | `gateway doctor` in front of them |
//! | [`faults`] | what a client meets when they die, stall, come back, or hang up first |
//! | [`front`] | the gateway in front of one server, and the same question asked with and without it |
//! | [`launched`] | servers that `npx -y` and `uvx` fetch and start, behind the gateway's own bridge |
//! | [`node`] | servers on Node |
//! | [`python`] | servers on Python |
//! | [`stdio`] | servers on stdin and stdout, which the gateway itself puts behind HTTP |
//! | [`manual`] | the manual's table of them |

mod doctor;
mod faults;
mod front;
mod launched;
mod manual;
mod node;
mod python;
mod stdio;
