//! MCP on the wire: messages and revisions, and one family of revisions translated into the other.
//! Pure functions over JSON-RPC messages.
//!
//! Owns: what JSON-RPC and MCP say, whoever says it: messages, methods, revisions, events, definitions
//! and lists of tools. Not: connections, sessions, and what anybody may do.
//!
//! Begin at [`Message`].
//!
//! Two families share almost everything but how a conversation begins. *Sessions* (2024-11-05 to
//! 2025-11-25) shake hands with `initialize`, and whoever answers remembers it. In the *stateless*
//! revision 2026-07-28 each request says in `_meta` all that there is to know. Transports
//! (HTTP+SSE, Streamable HTTP, stdio) are not looked at here: they carry the same messages.
//!
//! | who speaks sessions | module |
//! |---|---|
//! | the server; the client is stateless | [`to_stateful`] |
//! | the client; the server is stateless | [`to_stateless`] |
//!
//! [`members`] is what several servers are called, list and describe together.
//!
//! What nobody here knows survives: members, their order, methods, and the digits of numbers stay
//! as they were sent, because values are kept as text until somebody asks ([`Object`]).
//!
//! # What can't be translated
//!
//! | from | to | what | instead |
//! |---|---|---|---|
//! | sessions | stateless | a server's request outside of `tools/call`, `prompts/get`, `resources/read` | the server is answered with the error -32601 |
//! | sessions | stateless | a server's request that the client has not declared | the same |
//! | sessions | stateless | `notifications/elicitation/complete`, task status | dropped: 2026-07-28 has no such words |
//! | sessions | stateless | error -32042 (2025-11-25, URL elicitation required) | `input_required` if the client can open URLs, else -32021 |
//! | stateless | sessions | a result type of an extension | the error -32603: a session client would take it for a result |
//! | stateless | sessions | tasks of 2025-11-25 | the capability is not passed on |

pub mod arguments;
pub mod calls;
mod canonical;
pub mod event_scan;
mod headers;
mod id;
pub mod jsonrpc;
pub mod lenient;
pub mod media_type;
pub mod members;
mod message;
pub mod meta;
mod object;
pub mod path_prefix;
mod revision;
mod rpc_error;
pub mod scan;
pub mod sse;
mod subscriptions;
mod suspension;
pub mod to_stateful;
pub mod to_stateless;
pub mod tool_definition;
pub mod tool_list;

pub use headers::{Mirrored, decode_value, encode_value, standard_headers};
pub use id::Id;
pub use message::{Kind, Malformed, Message};
pub use object::Object;
pub use revision::{
    LATEST_STATEFUL, RevisionFamilies, RevisionFamily, STATEFUL_REVISIONS, STATELESS,
    is_stateful_revision,
};
pub use rpc_error::{RpcError, code};
pub use subscriptions::{
    LONGEST_SUBSCRIPTIONS, MOST_SUBSCRIPTIONS, SharedSubscriptions, Subscriptions,
};
pub use suspension::{CallIdentity, INPUT_TIMEOUT};
