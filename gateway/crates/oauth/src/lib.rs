//! The authorization server: one file an endpoint or page. Each parses its request, loads facts,
//! calls one decision, stores what came of it, and answers.
//!
//! Owns: everything a client or a browser asks that is not for a backend. Not: the connection
//! (`gateway-proxy`), what is decided (`gateway-core`).
//!
//! Begin at [`AuthorizationServer::answer`].
//!
//! # Identity providers
//!
//! [`provider`] has what is asked of one and what of its answer is believed. What it said of a person
//! stands in the person's record, with its time; `provider/membership.rs` judges it wherever a session, a
//! code or a refresh token is used. Groups travel in the access token, which never outlives them.
//!
//! Where `id_jag` of one is configured, its word alone connects apps: `provider/id_jag.rs` reads it,
//! `token/jwt_bearer.rs` makes the grant of it, [`withheld`] keeps away what a person took back.
//!
//! # Consent over tools
//!
//! `authorize/consent.rs` shows the live list of [`gateway_upstream::Catalogue`]; the answer is judged against the
//! list of that moment ([`gateway_core::grants::consented_tools`]), and each chosen tool is granted with
//! a *pin*, a keyed tag over its whole definition. The token carries `granted(name)` facts and the pins,
//! or the digest of a choice that is too long for it: [`gateway_store::Records::tools_of`] reads that from
//! the grant once. A tool that changed is approved again at [`account`]: the grant's record gets the new
//! pin, and an *amendment* goes to every replica in the list of revocations.

pub mod account;
mod audit_log;
mod audited;
pub mod authorize;
mod backend_page;
mod browser;
mod cacheable_response;
mod client_assertion;
mod client_authentication;
mod clients;
mod connect;
pub mod device;
mod discovery;
mod dispatch;
pub mod endpoint;
pub mod error_page;
mod error_response;
mod form_token;
mod home;
pub mod identity;
pub mod introspect;
mod kept_tools;
mod known_device_cookie;
mod login;
mod login_limit;
pub mod metadata;
pub mod owner;
pub mod pages;
pub mod passkey;
pub mod personal;
pub mod provider;
pub mod register;
mod request_limit;
pub mod rescue;
pub mod revoke;
pub mod revoke_all;
mod server;
mod session;
mod setup;
#[cfg(test)]
mod tests;
pub mod token;
mod ways_in;
pub mod withheld;

pub use self::kept_tools::with_kept_tools;
pub use self::server::{AuthorizationServer, LONGEST_STREAM, Settings};
pub use self::ways_in::WaysIn;
