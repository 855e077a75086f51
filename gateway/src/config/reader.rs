//! Reads values from the layers and notes every problem.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::Path;

use crate::config::layers::{CREDENTIALS_DIRECTORY, Layers, Origin, Problem, Raw};
use crate::config::settings::Parse;
use crate::config::values;

/// The name of the credential that a key for a file is written with: `${CREDENTIALS_DIRECTORY}/NAME`.
fn credential<'a>(path: &str, text: &'a str) -> Option<&'a str> {
    if !path.ends_with("_file") {
        return None;
    }
    let rest = text.strip_prefix('$')?;
    let rest = rest
        .strip_prefix(CREDENTIALS_DIRECTORY)
        .or_else(|| rest.strip_prefix("{CREDENTIALS_DIRECTORY}"))?;
    rest.strip_prefix('/')
}

/// Reads the layers.
pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    pub(super) problems: Vec<Problem>,
    wrong: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers) -> Self {
        Self {
            layers,
            problems: layers.problems.clone(),
            wrong: BTreeSet::new(),
        }
    }

    /// The concrete paths of the tables of a list.
    pub(super) fn tables(&self, list: &str) -> Vec<String> {
        let count = self.layers.count(list);
        (0..count).map(|index| format!("{list}.{index}")).collect()
    }

    /// The default of a key; empty: it has none.
    pub(super) fn default(&self, path: &str) -> &'static str {
        self.layers.schema.find(path).map_or("", |key| key.default)
    }

    /// The scalar at a path, or its default; `None` where there is neither.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        match self.layers.value(path) {
            Some((Raw::Scalar(text), _)) if !text.is_empty() => match credential(path, text) {
                Some(name) => self.credential(path, name),
                None => Some(text.clone()),
            },
            Some((Raw::Scalar(_), _)) | None => {
                let default = self.default(path);
                (!default.is_empty()).then(|| default.to_owned())
            }
            Some(_) => {
                self.wrong(path, "takes one value");
                None
            }
        }
    }

    /// The file of a credential that systemd gives to the service.
    fn credential(&mut self, path: &str, name: &str) -> Option<String> {
        let Some(folder) = &self.layers.credentials else {
            let sentence = format!(
                "is a credential of systemd's, and {CREDENTIALS_DIRECTORY} is not set: it is set for a \
                 service with LoadCredential=. A command beside the service needs no configuration \
                 file: give it the service's state folder, --store file:DIR"
            );
            self.wrong(path, sentence);
            return None;
        };
        Some(format!("{folder}/{name}"))
    }

    pub(super) fn parsed<T>(&mut self, path: &str, parse: Parse<T>) -> Option<T> {
        let text = self.text(path)?;
        let value = parse(&text).map_err(|sentence| format!("{sentence}; it is `{text}`"));
        self.noted(path, value)
    }

    /// What came of a value; `None` with its problem noted.
    pub(super) fn noted<T>(&mut self, path: &str, value: Result<T, impl Display>) -> Option<T> {
        value.map_err(|sentence| self.wrong(path, sentence)).ok()
    }

    pub(super) fn list<T>(&mut self, path: &str, parse: Parse<T>) -> Vec<T> {
        let items = match self.layers.value(path) {
            Some((Raw::List(items), _)) => items.clone(),
            Some((Raw::Scalar(text), _)) => vec![text.clone()],
            Some((Raw::Map(_), _)) => {
                self.wrong(path, "takes a list");
                Vec::new()
            }
            None => {
                let default = self.default(path);
                let items = default.split(',').filter(|item| !item.is_empty());
                items.map(|item| item.trim().to_owned()).collect()
            }
        };
        let values = items.iter().filter_map(|item| {
            let value = parse(item.trim());
            self.noted(
                path,
                value.map_err(|sentence| format!("{sentence}; it is `{item}`")),
            )
        });
        values.collect()
    }

    /// A program and its arguments, byte for byte.
    pub(super) fn words(&mut self, path: &str) -> Vec<String> {
        let words = match self.layers.value(path) {
            Some((Raw::List(items), _)) => items.clone(),
            _ => self.list(path, values::text),
        };
        if let [only] = words.as_slice()
            && only.trim().contains(char::is_whitespace)
            && !Path::new(only).exists()
        {
            let parts: Vec<_> = only
                .split_whitespace()
                .map(|part| format!("\"{part}\""))
                .collect();
            let sentence = format!(
                "is one word with blanks, and no program of that name is there; write [{}]",
                parts.join(", ")
            );
            self.wrong(path, sentence);
        }
        words
    }

    /// A table of texts; `None`: it is written as something else, which whoever asks has to note.
    pub(super) fn pairs(&self, path: &str) -> Option<Vec<(String, String)>> {
        match self.layers.value(path) {
            Some((Raw::Map(pairs), _)) => Some(pairs.clone()),
            Some(_) => None,
            None => Some(Vec::new()),
        }
    }

    /// A secret that stands inline at `key`, or in the file that `key` with `_file` names, as both were read.
    pub(super) fn secret(
        &mut self,
        key: &str,
        inline: &Option<String>,
        file: &Option<String>,
    ) -> Option<String> {
        let Some(file) = file else {
            return inline.clone();
        };
        let file_key = format!("{key}_file");
        if inline.is_some() {
            let sentence = format!("stands beside `{key}`; give one of them");
            self.wrong(&file_key, sentence);
            return None;
        }
        let text = self.file(&file_key, file)?;
        Some(text.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Notes what is wrong with such a secret, at the key that was given.
    pub(super) fn wrong_secret(
        &mut self,
        key: &str,
        inline: &Option<String>,
        sentence: impl Display,
    ) {
        match inline {
            Some(_) => self.wrong(key, sentence),
            None => self.wrong(&format!("{key}_file"), sentence),
        }
    }

    /// What stands in the file that a key names; `None` with a problem noted.
    pub(super) fn file(&mut self, key: &str, file: &str) -> Option<String> {
        let read = values::read_text(Path::new(file));
        self.noted(
            key,
            read.map_err(|sentence| format!("{sentence}; it is `{file}`")),
        )
    }

    /// Whether a key is given something.
    pub(super) fn is_written(&self, path: &str) -> bool {
        match self.layers.value(path) {
            Some((Raw::Scalar(text), _)) => !text.is_empty(),
            Some(_) => true,
            None => false,
        }
    }

    /// Notes `sentence` where a key is given nothing.
    pub(super) fn require(&mut self, path: &str, sentence: impl Display) {
        if !self.is_written(path) {
            self.wrong(path, sentence);
        }
    }

    /// Notes `sentence` at each of these keys of a table that is given something.
    pub(super) fn refuse<'k>(
        &mut self,
        table: &str,
        keys: impl IntoIterator<Item = &'k str>,
        sentence: &str,
    ) {
        for key in keys {
            let path = format!("{table}.{key}");
            if self.is_written(&path) {
                self.conflict(&path, sentence);
            }
        }
    }

    /// Notes the name of a table that one before has.
    pub(super) fn unique(&mut self, names: &mut BTreeSet<String>, table: &str, name: &str) {
        if !names.insert(name.to_owned()) {
            self.wrong(
                &format!("{table}.name"),
                format!("`{name}` is the name of two"),
            );
        }
    }

    /// Whether a problem of this key was noted.
    pub(super) fn is_wrong(&self, path: &str) -> bool {
        self.wrong.contains(path)
    }

    /// Notes that a value does not go with others, unless it is known to be wrong by itself.
    pub(super) fn conflict(&mut self, path: &str, sentence: impl Display) {
        if !self.is_wrong(path) {
            self.wrong(path, sentence);
        }
    }

    /// Notes a problem with a key.
    pub(super) fn wrong(&mut self, path: &str, sentence: impl Display) {
        let origin = self
            .layers
            .value(path)
            .map_or(Origin::Default, |(_, origin)| origin.clone());
        self.wrong.insert(path.to_owned());
        self.problems.push(Problem {
            origin,
            sentence: format!("`{path}` {sentence}"),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::SCHEMA;

    #[test]
    fn a_credential_of_systemd_is_a_file_of_its_folder() {
        for file in [
            "${CREDENTIALS_DIRECTORY}/redis",
            "$CREDENTIALS_DIRECTORY/redis",
        ] {
            let mut layers = Layers::new(&SCHEMA);
            let text = format!("title = \"{file}\"\n[store]\npassword_file = \"{file}\"\n");
            layers.file(Path::new("gateway.toml"), &text);
            let mut reader = Reader::new(&layers);
            assert_eq!(reader.text("store.password_file"), None, "{file}");
            let problem = reader.problems[0].to_string();
            assert!(
                problem.contains("CREDENTIALS_DIRECTORY is not set"),
                "{problem}"
            );
            // Other keys are no files.
            assert_eq!(reader.text("title").as_deref(), Some(file));

            let variable = ("CREDENTIALS_DIRECTORY".into(), "/run/credentials/x".into());
            layers.environment([variable].into_iter());
            let mut reader = Reader::new(&layers);
            let found = reader.text("store.password_file");
            assert_eq!(found.as_deref(), Some("/run/credentials/x/redis"));
            assert!(reader.problems.is_empty());
        }
    }
}
