//! Tables on a terminal. What is in them was written by others, so every cell is made harmless.

use std::fmt;

use serde_json::Value;

use gateway_oauth::pages::clean;

/// Between two columns.
const GAP: &str = "  ";

/// Rows under headings.
pub(in crate::cli) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// A text of others, fit for a terminal: one line without control or invisible characters.
pub(in crate::cli) fn cell(text: &str, longest: usize) -> String {
    clean(text, longest)
}

impl Table {
    pub(in crate::cli) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// A row for each entry.
    pub(in crate::cli) fn from_entries<T>(
        headings: &[&'static str],
        entries: &[T],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Self {
        let mut table = Self::new(headings);
        for entry in entries {
            table.row(row(entry));
        }
        table
    }

    /// A row for each member of an object, and for each entry of a list in it.
    pub(in crate::cli) fn of_members(object: &Value) -> Self {
        let mut table = Self::new(&["WHAT", "VALUE"]);
        for (name, value) in object.as_object().into_iter().flatten() {
            match value {
                Value::Array(values) => {
                    for value in values {
                        table.row(vec![name.clone(), text(value)]);
                    }
                }
                value => table.row(vec![name.clone(), text(value)]),
            }
        }
        table
    }

    pub(in crate::cli) fn row(&mut self, cells: Vec<String>) {
        let cells = cells.iter().map(|text| {
            let text = cell(text, 200);
            if text.is_empty() {
                "-".to_owned()
            } else {
                text
            }
        });
        self.rows.push(cells.collect());
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings: Vec<String> = self.headings.iter().map(|&text| text.to_owned()).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let widths: Vec<usize> = (0..headings.len())
            .map(|column| {
                let widths = lines().filter_map(|line| line.get(column));
                widths.map(|text| text.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for line in lines() {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                text.push_str(cell);
                let padding = width.saturating_sub(cell.chars().count());
                text.extend(std::iter::repeat_n(' ', padding));
                text.push_str(GAP);
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_and_others_write_no_escapes() {
        let mut table = Table::new(&["ID", "NAME"]);
        table.row(vec![
            "c_1".to_owned(),
            "\u{1b}[2JEvil\u{202e}\nApp".to_owned(),
        ]);
        table.row(vec!["c_long".to_owned(), String::new()]);
        assert_eq!(
            table.to_string(),
            "ID      NAME\nc_1     [2JEvil App\nc_long  -\n"
        );
    }
}
