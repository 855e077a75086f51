//! What a run showed to work. Each test of a client writes down what it saw; the table
//! of the manual is made from that, and a row that says more than the run showed is an
//! error. A row keeps its date while nothing else in it changes, so that a run which
//! shows the same again changes no file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::program::workspace;

/// The heading of the table of clients; its last column is the date.
pub const CLIENTS: [&str; 5] = ["client", "version", "transport", "shown", "on"];

/// One row, without its date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its cells; the first and the third say what was driven how, and name the row.
    pub cells: [String; 4],
}

impl Row {
    fn key(&self) -> (String, String) {
        (self.cells[0].clone(), self.cells[2].clone())
    }
}

fn folder() -> PathBuf {
    workspace().join("tests/.work/shown")
}

/// Forget what earlier runs showed.
pub fn forget() -> Result<()> {
    match std::fs::remove_dir_all(folder()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Write down what was shown, or with `None` that this client failed.
pub fn note(client: &str, version: &str, transport: &str, shown: Option<&str>) -> Result<()> {
    std::fs::create_dir_all(folder())?;
    let name: String = format!("{client} {transport}")
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '-' })
        .collect();
    let row = json!({"client": client, "version": version, "transport": transport, "shown": shown});
    Ok(std::fs::write(
        folder().join(name + ".json"),
        row.to_string(),
    )?)
}

/// What this run showed: a row, or `None` for a client that failed, by client and transport.
pub fn read() -> Result<BTreeMap<(String, String), Option<Row>>> {
    let mut rows = BTreeMap::new();
    let entries = std::fs::read_dir(folder()).context("no client was driven")?;
    for entry in entries {
        let note: Value = serde_json::from_str(&std::fs::read_to_string(entry?.path())?)?;
        let cell = |name: &str| note[name].as_str().unwrap_or_default().to_owned();
        let row = Row {
            cells: [
                cell("client"),
                cell("version"),
                cell("transport"),
                cell("shown"),
            ],
        };
        rows.insert(row.key(), note["shown"].is_string().then_some(row));
    }
    Ok(rows)
}

/// The rows of a table in Markdown, with their dates.
pub fn parse(table: &str) -> Result<Vec<(Row, String)>> {
    let mut rows = Vec::new();
    for line in table.lines().filter(|line| line.starts_with('|')).skip(2) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [client, version, transport, shown, on] = cells[..] else {
            bail!("not a row of the table of clients: {line}");
        };
        let cells = [client, version, transport, shown].map(String::from);
        rows.push((Row { cells }, on.to_owned()));
    }
    Ok(rows)
}

/// The table that this run gives, and what the old one said that this run did not show.
pub fn merge(
    old: &[(Row, String)],
    shown: &BTreeMap<(String, String), Option<Row>>,
    today: &str,
) -> (String, Vec<String>) {
    let mut table = format!(
        "| {} |\n|{}\n",
        CLIENTS.join(" | "),
        "---|".repeat(CLIENTS.len())
    );
    let mut missing = Vec::new();
    for (row, _) in old {
        match shown.get(&row.key()) {
            None => missing.push(format!(
                "{} over {} was not driven",
                row.cells[0], row.cells[2]
            )),
            Some(None) => missing.push(format!("{} over {} failed", row.cells[0], row.cells[2])),
            Some(Some(_)) => {}
        }
    }
    let mut rows: Vec<&Row> = shown.values().flatten().collect();
    rows.sort_by_key(|row| (row.cells[0].to_lowercase(), row.cells[2].clone()));
    for row in rows {
        let on = old
            .iter()
            .find(|(before, _)| before == row)
            .map_or(today, |(_, on)| on);
        table += &format!("| {} | {on} |\n", row.cells.join(" | "));
    }
    (table, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(client: &str, version: &str) -> Row {
        Row {
            cells: [client, version, "http", "works"].map(String::from),
        }
    }

    fn shown(rows: &[(&str, Option<&str>)]) -> BTreeMap<(String, String), Option<Row>> {
        rows.iter()
            .map(|(client, version)| {
                let key = ((*client).to_owned(), "http".to_owned());
                (key, version.map(|version| row(client, version)))
            })
            .collect()
    }

    #[test]
    fn a_row_that_was_shown_again_keeps_its_date() {
        let old = [(row("a", "1"), "2026-01-01".to_owned())];
        let (table, missing) = merge(&old, &shown(&[("a", Some("1"))]), "2026-02-02");
        assert_eq!(parse(&table).expect("its own form"), old);
        assert!(missing.is_empty());
    }

    #[test]
    fn another_version_has_another_date() {
        let old = [(row("a", "1"), "2026-01-01".to_owned())];
        let (table, _) = merge(&old, &shown(&[("a", Some("2"))]), "2026-02-02");
        let expected = [(row("a", "2"), "2026-02-02".to_owned())];
        assert_eq!(parse(&table).expect("its own form"), expected);
    }

    #[test]
    fn a_client_that_failed_or_was_left_out_is_named() {
        let old = ["a", "b"].map(|name| (row(name, "1"), "2026-01-01".to_owned()));
        let (table, missing) = merge(&old, &shown(&[("a", None)]), "2026-02-02");
        assert_eq!(
            missing,
            ["a over http failed", "b over http was not driven"]
        );
        assert!(parse(&table).expect("its own form").is_empty());
    }
}
