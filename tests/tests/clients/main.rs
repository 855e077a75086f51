//! Real MCP clients, unattended: each discovers the gateway, logs in through the real
//! pages, lists tools, calls one, and goes on after the gateway was killed and started
//! again, without another login. What each showed goes into the manual's table.

mod apps;
mod choices;
mod drive;
mod headers;
mod held;
mod organisation;
mod own_accounts;
mod pages;
mod sdks;
mod several;
mod through_provider;
