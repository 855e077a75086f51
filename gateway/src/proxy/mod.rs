//! The edge: Pingora's hooks, routes, admission and the exchange with a backend.

pub mod admission;
pub mod exchange;
pub mod hooks;
pub mod routes;
