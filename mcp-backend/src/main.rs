//! Parses arguments, runs, and turns the outcome into an exit code. All else is in the library.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use mcp_backend::bridge::{self, reaper};
use mcp_backend::options::{Command, Options};
use mcp_backend::{healthcheck, logging, run};

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.command {
        Some(Command::Healthcheck { listen }) => healthcheck::ask(listen).with_context(|| {
            format!(
                "no server answers at {listen}; name the address of a running one with --listen"
            )
        }),
        Some(Command::Keep { parent, command }) => reaper::keep(parent, &command),
        Some(Command::Bridge(options)) => {
            logging::start(options.log_format);
            until_done(bridge::run::serve(*options))
        }
        None => {
            logging::start(options.serve.log_format);
            until_done(run::serve(options.serve))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcp-backend: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn until_done(serving: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(serving);
    // A pending read of stdin cannot be cancelled, and must not keep the program alive.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}
