//! `gateway reasons`: the tables of reason codes, as the manual prints them.

use std::process::ExitCode;

use gateway_core::reason;

pub(super) fn run() -> ExitCode {
    println!("{}\n{}", reason::troubleshooting(), reason::reference());
    ExitCode::SUCCESS
}
