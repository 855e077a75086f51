//! The table of clients in the manual, from what the run before showed.
//!
//!     shown --forget          before the run
//!     shown                   compare; write the table where it may change
//!     shown --check           compare only, as in CI: a table that would change is an error
//!
//! Fails when the table says that a client works which was not shown to.

use std::process::ExitCode;

use anyhow::{Context, Result};
use tests::program::workspace;
use tests::readme_tables;

const BEGIN: &str = "<!-- clients -->\n";
const END: &str = "<!-- /clients -->";

fn main() -> ExitCode {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let done = match mode.as_str() {
        "--forget" => readme_tables::forget().map(|()| Vec::new()),
        "" | "--check" => compare(mode.is_empty()),
        _ => {
            eprintln!("usage: shown [--forget | --check]");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            eprintln!("the manual's table of clients: {}", problems.join("; "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the manual's table of clients: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a command: time enters here")]
fn compare(may_write: bool) -> Result<Vec<String>> {
    let path = workspace().join("conf/documents/clients.md");
    let page = std::fs::read_to_string(&path)?;
    let (before, rest) = page.split_once(BEGIN).context("its begin is not marked")?;
    let (table, after) = rest.split_once(END).context("its end is not marked")?;
    let now = std::time::SystemTime::now();
    let today = day_of(now);
    let (new, mut problems) = readme_tables::merge(
        &readme_tables::parse(table)?,
        &readme_tables::read()?,
        &today,
    );
    if new != table && problems.is_empty() {
        if may_write {
            std::fs::write(&path, format!("{before}{BEGIN}{new}{END}{after}"))?;
            println!("the manual's table of clients was written anew");
        } else {
            problems.push("a run without CI set writes it anew; commit that".into());
        }
    }
    Ok(problems)
}

/// The day as YYYY-MM-DD, in UTC.
fn day_of(at: std::time::SystemTime) -> String {
    let text = httpdate::fmt_http_date(at);
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let words: Vec<&str> = text.split(' ').collect();
    let month = months
        .iter()
        .position(|name| *name == words[2])
        .unwrap_or_default()
        + 1;
    format!("{}-{month:02}-{}", words[3], words[1])
}
