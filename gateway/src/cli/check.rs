//! `gateway check`: what is in force and where it was written.

use std::process::ExitCode;

use crate::cli::{Configuration, report};
use crate::config;

pub(super) fn run(configuration: &Configuration) -> ExitCode {
    let layers = configuration.layers();
    let lines = config::printed(&layers);
    let width = lines.iter().map(|(path, ..)| path.len()).max().unwrap_or(0);
    for (path, value, origin) in &lines {
        println!("{path:width$} = {value}  # {origin}");
    }
    match config::resolve(&layers) {
        Ok(_) => ExitCode::SUCCESS,
        Err(problems) => report(&problems),
    }
}
