//! The lane over real sockets to a scripted backend.

mod answers;
mod handover;
mod requests;
mod streams;
mod support;
