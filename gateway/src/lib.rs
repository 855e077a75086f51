//! The gateway's program: arguments, configuration, keys on disk, the operator's API, and the wiring of
//! the crates that do the work. `gateway/ARCHITECTURE.md` is the map of all of them.
//!
//! | where | what |
//! |---|---|
//! | [`cli`] | the commands; `serve` begins here |
//! | [`config`] | layers of settings, each read into a type that can't be wrong |
//! | [`app`] | what is opened and connected, in order |
//! | [`server`] | listeners and their services, from start to stop |
//! | [`admin`] | health, metrics and the operator's API, on a listener of their own |
//! | [`operator_api`] | what that API is asked and answers, shared by server and commands |
//! | [`tls`] | the certificate of the public listener |
//! | [`tunnel`] | a program that gives this machine a public URL |
//! | [`service_manager`] | sockets that systemd opened, and what it is told |
//! | [`keys`], [`environment`], [`supervisor`] | keys on disk, what endangers a set-up, processes that are started beside |
//! | [`peer`] | the other processes on the same store, asked and answered |
//! | [`backup`] | what a gateway keeps, with its keys, in one encrypted file |
//! | [`upgrade`] | how a new process takes over from the one that serves |
//! | [`program`], [`process_file`], [`stop`] | such a process, a file that stands for it, and the signals at which all ends |
//!
//! Owns: everything that is decided once, at the start. Not: what happens to a request. Nobody else
//! reads configuration: each crate says in a struct of its own what it needs.
//!
//! Begin at [`app::App::build`].

pub mod account_keys;
pub mod admin;
pub mod app;
pub mod backup;
pub mod cli;
pub mod config;
pub mod environment;
pub mod keys;
pub mod operator_api;
pub mod peer;
pub mod process_file;
pub mod program;
pub mod server;
pub mod service_manager;
pub mod stop;
pub mod supervisor;
pub mod tls;
pub mod tunnel;
pub mod upgrade;
