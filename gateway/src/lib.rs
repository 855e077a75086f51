//! The gateway: an OAuth 2.1 authorization server, a resource server and a reverse proxy in front
//! of MCP servers. This page is the map of the house.
//!
//! Imports point down only; `tests/floors.rs` fails on an upward arrow or a cycle.
//!
//! | floor | modules | what lives there |
//! |---|---|---|
//! | 6 assembly | `main`, [`cli`], [`server`], [`app`], [`config`], [`keys`], [`supervisor`] | arguments, resolved configuration, keys on disk, wiring |
//! | 5 edge | [`proxy`], [`admin`] | Pingora's hooks, admission, the exchange with a backend, live streams |
//! | 4 endpoints | [`oauth`] | one file an endpoint or page: parse, load facts, call one decision, store, answer |
//! | 4 outside observer | [`doctor`] | what clients meet at a deployment: exchanges, and judgements over them |
//! | 3 outside world | [`store`], [`identity`], [`backend`], [`fetch`], [`journal`], [`environment`] | what is kept and written down, who a person is, what a backend offers |
//! | 2 decisions | [`client`], [`grants`], [`access_token`], [`policy`], [`browser_session`], [`pages`], [`audit`] | pure: facts, `now` and randomness in, a value out |
//! | 1 vocabulary | [`protocol`], [`reason`], [`clock`], [`open_files`], [`secret`] | wire words: OAuth errors, scopes, PKCE, JSON-RPC, SSE |
//!
//! # The life of a request
//!
//! `proxy::hooks` → `proxy::routes` (one canonical path, or 400) → for an endpoint
//! [`oauth::AuthorizationServer::answer`]; for a backend `proxy::admission`: bearer → verified
//! token → revocation view → body judged → [`policy`] = `Permit` → `proxy::exchange`. Without a
//! permit there is no upstream: the exchange takes it by value. Where the backend speaks another revision family
//! of MCP than the client, `proxy::compat` takes the permit instead, with the mapping of the crate
//! [`mcp_protocol`]; the head of that module says what is translated, why, and what can't be.
//!
//! # Consent over tools
//!
//! `oauth::consent` shows the live list of `backend::Catalogue`; the answer is judged against the
//! list of that moment ([`grants::consented_tools`]), and each chosen tool is granted with a *pin*, a keyed
//! tag over its whole definition ([`grants::Tools`], [`protocol::tool_definition`]). The token carries
//! `granted(name)` facts and the pins, or the digest of a choice that is too long for it:
//! [`store::Records::tools_of`] reads that from the grant once. Each call of a pinned tool is judged by how the tool stands now
//! (`backend::ToolCache`, in memory; the backend is asked only where nothing is known), each list
//! on its way to a restricted token is cut in its text (`proxy::tool_list_filter`, [`protocol::tool_list`]),
//! and of all other methods only harmless ones pass (the table at `policy::decide`). Refusals are
//! answered within MCP (`proxy::mcp_error`). For unrestricted tokens nothing is looked into, unless
//! there is a policy.
//!
//! A tool that changed is approved again at `oauth::account`: the grant's record gets the new pin, and
//! an *amendment* ([`grants::amendment`]) goes to every replica in the list of revocations, where
//! [`store::RevocationView`] finds it for tokens that carry the old one.
//!
//! # The operator's policy
//!
//! [`policy::rules`] reads a file of Datalog once, with all its faults, and judges a call by facts
//! that the gateway alone states (`policy/rules/vocabulary.rs` lists them; `proxy::policy_input` gathers
//! them). [`policy::decide`] asks it last, about every message and every stream that is opened: it can
//! only take away. `policy/rules/listing.rs` derives from it what holds of a tool whatever its
//! arguments are, by which lists are cut. [`policy::PolicyHandle`] is where everybody takes it from;
//! `cli::reload` replaces it on SIGHUP. The evaluator wants plain values and no token, so
//! `gateway explain` and dry runs ask the same one.
//!
//! `cli::explain` asks `policy::decide` about one call, with what it gathers from files;
//! `policy/rules/partial_evaluation.rs` decides where facts are missing, by which `cli::policy` judges the audit
//! log anew.
//!
//! # Scopes
//!
//! [`policy::ScopeTable`] holds the tables `[scope.NAME]`, for each backend its [`policy::Scopes`]: what
//! a request is granted, what an operation needs, what the challenges name. Every confirmed token
//! carries them with it, so that lists and calls are judged alike. Without tables `mcp` covers
//! everything, as it always does for tokens that have it. What another scope would cover is the one
//! refusal that is HTTP (403), and the one that lists don't hide.
//!
//! # Revocation
//!
//! A grant, a token by the id of any of its blocks, and by a cut in time all of a client or a person
//! ([`store::Revoked`]) are entries of one list in the store, durable before they are acknowledged.
//! Each replica follows it in memory ([`store::RevocationView`]): admission and introspection ask the
//! view, and `proxy::lifetime` ends streams and running calls when it changes. What has to be revoked
//! for what stands in [`oauth::revoke`] and [`oauth::revoke_all`]: one way for clients, people and the
//! operator, who speaks through [`admin`] and the commands of [`cli`].

pub mod access_token;
pub mod admin;
pub mod app;
pub mod audit;
pub mod backend;
pub mod browser_session;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod environment;
pub mod fetch;
pub mod grants;
pub mod identity;
pub mod journal;
pub mod keys;
pub mod oauth;
pub mod open_files;
pub mod pages;
pub mod policy;
pub mod protocol;
pub mod proxy;
pub mod reason;
pub mod secret;
pub mod server;
pub mod store;
pub mod supervisor;
