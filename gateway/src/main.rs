//! The `gateway` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway::cli::run()
}
