//! Parses arguments, runs, and turns the outcome into an exit code. All else is in the library.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mcp_backend::options::{Command, Options};
use mcp_backend::{healthcheck, logging, run};

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.command {
        Some(Command::Healthcheck { listen }) => {
            healthcheck::ask(listen).map_err(anyhow::Error::from)
        }
        None => {
            logging::start(options.serve.log_format);
            serve(options)
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

fn serve(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(run::serve(options.serve));
    // A pending read of stdin cannot be cancelled, and must not keep the program alive.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}
