//! OAuth towards a backend's authorization server, as an MCP client has it.
//!
//! [`discovery`] finds the server by asking the backend, [`client`] has who the gateway is there,
//! [`token`] asks for tokens, [`login`] is a person's way there and back, [`renewal`] what goes on
//! afterwards, [`taking_back`] the end; [`exchange`] needs no person.

mod bounds;
pub(crate) mod client;
pub(crate) mod discovery;
pub(crate) mod exchange;
pub(crate) mod failure;
pub(crate) mod login;
pub(crate) mod renewal;
pub(crate) mod server;
pub(crate) mod taking_back;
pub(crate) mod token;
