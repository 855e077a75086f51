//! An MCP server over a folder of documents, with the two tools `search` and `fetch`; and, as
//! `mcp-backend bridge`, the way to HTTP for any other server that speaks on stdin and stdout.
//!
//! It is a program of its own: the gateway starts it beside itself, or it runs alone. It knows
//! nothing of OAuth; who may call it is the gateway's part. From the outside in:
//!
//! | module | what it owns |
//! |---|---|
//! | [`options`], [`logging`], [`limits`], [`healthcheck`], [`run`] | command line, log, start and end |
//! | [`http`], [`hosts`] | routes, limits, which hosts are answered |
//! | [`sse`] | the HTTP+SSE transport; Streamable HTTP and stdio are `rmcp`'s |
//! | [`viewer`] | a page for each document, so that citations open |
//! | [`server`], [`tools`], [`address`] | MCP: what the server says of itself, the two tools, URLs |
//! | [`watch`], [`indexer`] | keeping up with the folder |
//! | [`catalog`], [`entry`], [`index`] | what can be found and fetched at one moment; BM25 |
//! | [`folder`] | the only place that opens files: what may be read |
//! | [`format`](mod@format), [`outline`], [`document`] | bytes to documents, sections and ids (pure) |
//! | [`query`], [`snippet`], [`words`], [`text`] | words: asked for, shown, cut, cleaned (pure) |
//! | [`bridge`] | any server on stdio behind HTTP; nothing of the documents |
//!
//! The way of a call: `http` or stdio → `rmcp` → `server` → `tools` → `catalog`. The way of a file:
//! `watch` → `indexer` → `folder` → `format` → `index` and `catalog`. The two meet in one swap of a
//! pointer, [`catalog::Library::publish`], so an answer never mixes two states of the folder.

pub mod address;
pub mod bridge;
pub mod catalog;
pub mod document;
pub mod entry;
pub mod folder;
pub mod format;
pub mod healthcheck;
pub mod hosts;
pub mod http;
pub mod index;
pub mod indexer;
pub mod limits;
pub mod logging;
pub mod options;
pub mod outline;
pub mod query;
pub mod run;
pub mod server;
pub mod snippet;
pub mod sse;
pub mod text;
pub mod tools;
pub mod viewer;
pub mod watch;
pub mod words;
