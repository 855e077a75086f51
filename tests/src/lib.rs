//! Drives the real `gateway` and `mcp-backend` binaries from outside, over
//! loopback sockets, the way clients, browsers and attackers do.
//!
//! | module | owns |
//! |---|---|
//! | [`fixture`] | one gateway in front of one recording backend: where a test begins |
//! | [`gateway`] | the process: configuration, start, stop, kill, restart, its log |
//! | [`frames`] | HTTP/2 frame by frame, for connections that no library would make |
//! | [`machine`] | what tests of all crates share: ports, and a folder in memory |
//! | [`program`] | any child process: where binaries are, captured lines |
//! | [`recorder`] | a backend that writes down what arrived and plays scripted answers |
//! | [`scripted_mcp`] | the MCP server that the recorder plays when a test scripts nothing |
//! | [`scripted_revisions`] | the same, of one revision family of MCP alone |
//! | [`browser`] | pages, forms and cookies; never follows a redirect by itself |
//! | [`clock`] | a clock of a gateway's own, which a test puts ahead |
//! | [`fault_proxy`] | a reverse proxy in front of a healthy gateway, with one fault at a time |
//! | [`desktop_client`] | a home folder for a desktop client, and a browser that somebody sits at |
//! | [`identity_provider`] | identity providers of other make, and a person who logs in at one |
//! | [`http`] | one HTTP exchange and its whole answer |
//! | [`https`] | the same over TLS, by HTTP/2 or HTTP/1.1, on a connection that is kept |
//! | [`oauth`] | an OAuth client: register, authorize, redeem |
//! | [`operator`] | the operator's commands against a running gateway |
//! | [`server`] | the MCP servers and bridges that people run, from the locked packages |
//! | [`steady_load`] | calls and streams that go on all the time, and everything that goes wrong with one |
//! | [`sdk`] | the official SDKs as clients: log in, list, call |
//! | [`injector`] | a proxy that puts a token into the requests of a client that cannot |
//! | [`mcp`] | MCP calls over Streamable HTTP and over HTTP+SSE |
//! | [`metrics`] | what a gateway says at `/metrics`, number by number |
//! | [`traces`] | a collector of traces, and what it was sent as OpenTelemetry's own package reads it |
//! | [`fake_llm`] | a scripted language model, for clients that call tools only when one asks |
//! | [`sse`] | an event stream read event by event, comments included |
//! | [`raw`] | bytes on a socket, for requests that no library would send |
//! | [`documents`] | a web site with metadata documents and keys of clients |
//! | [`keys`] | keys of clients, and the assertions that they sign |
//! | [`tls`] | a TLS front with certificates of the test's own |
//! | [`verifier`] | how a backend checks offline who calls: an example |
//! | [`readme_tables`] | what a run showed to work, and the table of the manual that says so |
//! | [`pebble`] | an ACME server of the test's own |
//! | [`redis`] | a Redis server of the test's own |
//! | [`watched_redis`] | the same under sentinels |
//! | [`clustered_redis`] | a Redis Cluster |
//!
//! It looks at nothing but the wire, standard output and the log: no store file
//! is opened and no code of `gateway` is imported. Every wait is bounded.

pub mod authenticator;
pub mod browser;
pub mod clock;
pub mod clustered_redis;
pub mod desktop_client;
pub mod documents;
pub mod fake_llm;
pub mod fault_proxy;
pub mod fixture;
pub mod frames;
pub mod gateway;
pub mod http;
pub mod https;
pub mod identity_provider;
pub mod injector;
pub mod keys;
pub mod machine;
pub mod mcp;
pub mod metrics;
pub mod oauth;
pub mod operator;
pub mod own_accounts;
pub mod pebble;
pub mod program;
pub mod raw;
pub mod readme_tables;
pub mod recorder;
pub mod redis;
pub mod scripted_mcp;
pub mod scripted_revisions;
pub mod sdk;
pub mod server;
pub mod small_disk;
pub mod sse;
pub mod steady_load;
pub mod tls;
pub mod traces;
pub mod verifier;
pub mod watched_redis;
