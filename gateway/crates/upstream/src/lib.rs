//! The backends: where each is, and what it offers. One exchange with a backend is the proxy's; the
//! connection it runs on, and the tools that the consent page shows, are here.
//!
//! Owns: connections to backends, what each speaks and offers, and what is remembered of that. Not: a
//! client's exchange with one (`gateway-proxy`). A crate of its own because the consent page of
//! `gateway-oauth` lists tools, and `gateway-proxy` stands above that.
//!
//! Begin at [`Catalogue`]. What several servers offer together is put together in `aggregate`, and a request
//! to them goes over a pipe within the process (`within`).

mod account;
mod aggregate;
mod backend;
mod catalogue;
mod catalogue_error;
mod client;
mod connection;
mod endpoint;
mod lookout;
mod page;
mod protocol_support;
mod question;
mod redirect;
mod request;
mod tool;
mod tool_cache;
mod within;

pub use self::account::{Account, AccountFuture, AccountSource, AccountUse, NoAccount};
pub use self::backend::{Address, Aggregate, Backend, IdentityHeaders};
pub use self::catalogue::Catalogue;
pub use self::catalogue_error::CatalogueError;
pub use self::connection::{Connection, Connections, Failure, IDLE, Pooling, RESOLVED};
pub use self::endpoint::endpoint_path;
pub use self::lookout::{BackendStatus, Lookout, Observation};
pub use self::page::{BackendPage, PAGES_HEADER, PageError, PageKind, PageReader, PageUser};
pub use self::protocol_support::ProtocolSupport;
pub use self::redirect::{Redirect, redirect};
pub use self::request::{Reached, Request, RequestError};
pub use self::tool::{
    Annotations, MemberTool, Missing, Tool, ToolDescription, ToolListing, doubled,
};
pub use self::tool_cache::{Caller, ToolCache};
pub use self::within::{LocalRequest, OnBehalfOf};
