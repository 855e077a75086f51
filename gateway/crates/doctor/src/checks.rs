//! Judgements: recorded exchanges in, findings out. Nothing here touches the network or a clock.

pub(super) mod authorization;
pub(super) mod challenge;
pub(super) mod discovery;
mod judgement;
pub(super) mod mcp;
pub(super) mod network;
pub(super) mod refresh;
pub(super) mod streams;
pub(super) mod token;
