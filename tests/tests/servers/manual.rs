//! The manual's table of the servers that were tried. Every row names a test, which must be there to
//! compile and must pass for the run to; versions are those of the lock files. To bring the table
//! up to date: `UPDATE_MANUAL=1 cargo test -p tests --test servers manual`.

use anyhow::{Context, Result};
use tests::program::workspace;
use tests::server::Lock;

use crate::{launched, node, python};

/// One row.
pub(crate) struct TestedServer {
    /// Its package, and what it stands in front of.
    pub(crate) packages: &'static [(Lock, &'static str)],
    /// As in the table.
    pub(crate) transports: &'static str,
    /// What the gateway, or who configures it, has to see to.
    pub(crate) peculiar: &'static str,
}

/// A row and its test.
macro_rules! tried {
    ($row:ident: $test:ident, $packages:expr, $transports:literal, $peculiar:literal) => {
        pub(crate) const $row: TestedServer = {
            let _: fn() -> Result<()> = $test;
            TestedServer {
                packages: $packages,
                transports: $transports,
                peculiar: $peculiar,
            }
        };
    };
}
pub(crate) use tried;

const ALL: [TestedServer; 26] = [
    node::EVERYTHING_HTTP,
    node::EVERYTHING_SSE,
    node::FILESYSTEM,
    node::MEMORY,
    node::THINKING,
    python::TIME,
    python::GIT,
    python::FETCH,
    python::FASTMCP,
    python::SDK_V2,
    python::SDK_V1,
    node::TYPESCRIPT_SDK,
    node::PLAYWRIGHT,
    node::CONTEXT7,
    node::PDF,
    python::DOCUMENTS,
    launched::DBHUB,
    launched::DEVTOOLS,
    launched::ESLINT,
    launched::GIT,
    launched::TASKS,
    launched::COMMANDS,
    launched::EXCEL,
    launched::DUCKDB,
    launched::SQLITE,
    launched::CALCULATOR,
];

const BEGIN: &str = "<!-- servers -->\n";
const END: &str = "<!-- /servers -->\n";

/// The name in `NAME@VERSION`.
fn named(package: &str) -> Result<&str> {
    let (name, _) = package.rsplit_once('@').context("NAME@VERSION")?;
    Ok(name)
}

fn table() -> Result<String> {
    let mut table = String::from("| server | over | peculiar |\n|---|---|---|\n");
    for tried in &ALL {
        let mut names = Vec::new();
        for (lock, package) in tried.packages {
            let (name, source) = match lock {
                Lock::Npm => (*package, "npm"),
                Lock::PythonV1 | Lock::PythonV2 => (*package, "PyPI"),
                Lock::Npx => (named(package)?, "by `npx -y`"),
                Lock::Uvx => (named(package)?, "by `uvx`"),
            };
            names.push(format!("{name} {} ({source})", lock.version(package)?));
        }
        let names = names.join(", with ");
        table += &format!("| {names} | {} | {} |\n", tried.transports, tried.peculiar);
    }
    Ok(table)
}

#[test]
fn the_manual_names_the_servers_that_were_tried() -> Result<()> {
    let path = workspace().join("conf/documents/servers.md");
    let page = std::fs::read_to_string(&path)?;
    let (before, rest) = page.split_once(BEGIN).context("its begin is not marked")?;
    let (inside, after) = rest.split_once(END).context("its end is not marked")?;
    let table = table()?;
    if inside != table && std::env::var_os("UPDATE_MANUAL").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}"))?;
        return Ok(());
    }
    assert_eq!(
        inside, table,
        "the manual's table of servers is out of date"
    );
    Ok(())
}
