//! The `gateway` program: arguments in, exit code out.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Many small things live briefly here, on several threads; and what thousands of streams took is to be
/// given back once they are gone, which the system's own does not do.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    gateway::cli::run()
}
