//! The lane over real sockets to a scripted backend.

#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod handover;
mod requests;
mod streams;
mod support;
