//! The words of the wire: types that parse strictly and can't be wrong afterwards. No I/O, no
//! knowledge of any other floor.

pub mod arguments;
pub mod bearer;
pub mod below;
mod canonical;
pub mod form;
pub mod jsonrpc;
pub mod lenient;
pub mod mcp;
pub mod media_type;
pub mod oauth;
pub mod pkce;
pub mod redirect_uri;
pub mod resource;
pub(crate) mod scan;
pub mod scope;
pub mod sse;
pub mod tool_definition;
pub mod tool_list;
pub mod web;
pub mod web_origin;
