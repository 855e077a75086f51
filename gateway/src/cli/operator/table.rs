//! Tables on a terminal. What is in them was written by others, so every cell is made harmless.

use std::fmt;

use serde_json::Value;

use gateway_oauth::pages::clean;

/// Between two columns.
const GAP: &str = "  ";

/// Rows, the first of which are the headings.
pub(in crate::cli) struct Table {
    rows: Vec<Vec<String>>,
}

/// A text of others, fit for a terminal: one line without control or invisible characters.
pub(in crate::cli) fn cell(text: &str, longest: usize) -> String {
    clean(text, longest)
}

impl Table {
    pub(in crate::cli) fn new<'h>(headings: impl IntoIterator<Item = &'h str>) -> Self {
        let headings = headings.into_iter().map(str::to_owned);
        Self {
            rows: vec![headings.collect()],
        }
    }

    /// A row for each member of an object, and for each entry of a list in it.
    pub(in crate::cli) fn of_members(object: &Value) -> Self {
        let mut table = Self::new(["WHAT", "VALUE"]);
        for (name, value) in object.as_object().into_iter().flatten() {
            let values = match value {
                Value::Array(values) => values,
                value => std::slice::from_ref(value),
            };
            for value in values {
                table.row([name.clone(), text(value)]);
            }
        }
        table
    }

    pub(in crate::cli) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|text| match cell(&text, 200) {
            text if text.is_empty() => "-".to_owned(),
            text => text,
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
        let mut widths = vec![0; self.rows[0].len()];
        for line in &self.rows {
            for (cell, width) in line.iter().zip(&mut widths) {
                *width = cell.chars().count().max(*width);
            }
        }
        for line in &self.rows {
            let cells = line.iter().zip(&widths);
            let line: String = cells
                .map(|(cell, width)| format!("{cell:width$}{GAP}"))
                .collect();
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_and_others_write_no_escapes() {
        let mut table = Table::new(["ID", "NAME"]);
        table.row(["c_1".to_owned(), "\u{1b}[2JEvil\u{202e}\nApp".to_owned()]);
        table.row(["c_long".to_owned(), String::new()]);
        assert_eq!(
            table.to_string(),
            "ID      NAME\nc_1     [2JEvil App\nc_long  -\n"
        );
    }
}
