//! Drives the real `mcp-backend` over its real transports, on a folder and a port of each test's
//! own. Nothing of the crate is imported.
//!
//! | module | proves |
//! |---|---|
//! | `contract` | the two tools, to the letter of what ChatGPT checks |
//! | `transports` | Streamable HTTP of each revision, HTTP+SSE, stdio; start and end |
//! | `follow` | changes in the folder, links out of it, ids over restarts |
//! | `bridge` | any server on stdio behind HTTP, for clients of every revision |
//! | `hostile` | foreign hosts, oversized bodies, ids and documents that attack |

mod backend;
mod bridge;
mod contract;
mod follow;
mod hostile;
mod mcp;
mod transports;
mod wire;
