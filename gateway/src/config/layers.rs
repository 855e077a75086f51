//! Where values come from: flags over environment over file over defaults. Every value remembers
//! its origin; every problem names it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::config::schema::{Kind, Schema};

/// Where systemd says to a service in which folder its credentials are (systemd.exec(5)).
pub(super) const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The variable of the most common key.
const PUBLIC_URL: &str = "GATEWAY_PUBLIC_URL";
/// What the variables of all keys begin with.
const PREFIX: &str = "GATEWAY__";

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command-line flag.
    Flag(&'static str),
    /// An environment variable.
    Environment(String),
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The column, from 1, in another file that the configuration names.
        column: Option<usize>,
    },
    /// Nowhere.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File { path, line, column } => {
                write!(f, "{}:{line}", path.display())?;
                column.map_or(Ok(()), |column| write!(f, ":{column}"))
            }
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value before it has a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// A text, number or boolean.
    Scalar(String),
    /// A list of them.
    List(Vec<String>),
    /// A table of them.
    Map(Vec<(String, String)>),
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What, and what to do.
    pub sentence: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Default => f.write_str(&self.sentence),
            _ => write!(f, "{}: {}", self.origin, self.sentence),
        }
    }
}

/// Values by concrete path (`backend.0.url`), the strongest layer's each.
#[derive(Clone, Debug)]
pub struct Layers {
    /// The keys that are taken.
    pub(super) schema: &'static Schema,
    values: BTreeMap<String, (Raw, Origin)>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// Whether a whole file is missing.
    pub(super) is_unread: bool,
    /// The folder of the credentials that systemd gives to a service, where there are some.
    pub(super) credentials: Option<String>,
}

impl Layers {
    /// Empty ones, which take the keys of `schema` and no others.
    pub const fn new(schema: &'static Schema) -> Self {
        Self {
            schema,
            values: BTreeMap::new(),
            problems: Vec::new(),
            is_unread: false,
            credentials: None,
        }
    }

    /// The value at a path and where it was written.
    pub fn value(&self, path: &str) -> Option<&(Raw, Origin)> {
        self.values.get(path)
    }

    /// All values that were written somewhere.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Raw, &Origin)> {
        self.values
            .iter()
            .map(|(path, (raw, origin))| (path.as_str(), raw, origin))
    }

    /// How many tables of a list are written, in any layer.
    pub fn count(&self, list: &str) -> usize {
        let indices = self.below(list).filter_map(|part| part.parse().ok());
        indices.max().map_or(0, |last: usize| last + 1)
    }

    /// The names under which a table is written, in any layer.
    pub fn names(&self, table: &str) -> BTreeSet<String> {
        self.below(table).map(str::to_owned).collect()
    }

    /// What follows a table in each path that is written.
    fn below(&self, table: &str) -> impl Iterator<Item = &str> {
        self.values.keys().filter_map(move |path| {
            let rest = path.strip_prefix(table)?.strip_prefix('.')?;
            rest.split('.').next()
        })
    }

    /// Sets a value from a flag. Call last: flags win.
    pub fn flag(&mut self, path: &str, name: &'static str, value: &str) {
        self.set_text(path, value, Origin::Flag(name));
    }

    /// Sets a list from the words after `--`, and takes out what the list stands instead of.
    pub fn words(&mut self, path: &str, words: &[String], instead_of: &[&str]) {
        for other in instead_of {
            self.values.remove(*other);
        }
        let value = (Raw::List(words.to_vec()), Origin::Flag("--"));
        self.values.insert(path.to_owned(), value);
    }

    /// Reads the file. Call first.
    pub fn file(&mut self, path: &Path, text: &str) {
        let lines = Lines { path, text };
        match DeTable::parse(text) {
            Ok(table) => self.table("", table.get_ref(), &lines),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                self.problem(lines.origin(at), error.message().to_owned());
            }
        }
    }

    /// Reads the variables that are ours: `GATEWAY__SECTION__KEY`, for the common ones `GATEWAY_KEY`, and
    /// the folder of systemd's credentials. One of them that is no text is a problem; what others hold is no
    /// matter of ours. Call after the file.
    pub fn environment(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) {
        for (name, value) in variables {
            let (name, value) = match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => (name, value),
                (name, _) => {
                    let name = name.unwrap_or_else(|name| name.to_string_lossy().into_owned());
                    if is_ours(&name) {
                        let sentence = "is no text in UTF-8".to_owned();
                        self.problem(Origin::Environment(name), sentence);
                    }
                    continue;
                }
            };
            if name == CREDENTIALS_DIRECTORY && !value.is_empty() {
                self.credentials = Some(value);
                continue;
            }
            let path = match name.as_str() {
                PUBLIC_URL => "public_url".to_owned(),
                _ => match name.strip_prefix(PREFIX) {
                    Some(rest) => rest.to_ascii_lowercase().replace("__", "."),
                    None => continue,
                },
            };
            let origin = Origin::Environment(name);
            match self.schema.find(&path) {
                // Compose files pass variables on that are set to nothing.
                Some(_) if value.is_empty() => {}
                Some(_) => self.set_text(&path, &value, origin),
                None => self.unknown(&path, origin),
            }
        }
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>, lines: &Lines<'_>) {
        for (name, value) in table {
            let path = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            let origin = lines.origin(name.span().start);
            if let (DeValue::Array(items), true) = (value.get_ref(), self.schema.is_list(&path)) {
                for (index, item) in items.iter().enumerate() {
                    match item.get_ref() {
                        DeValue::Table(inner) => {
                            self.table(&format!("{path}.{index}"), inner, lines)
                        }
                        _ => {
                            let sentence = format!("each {path} is a table: [[{path}]]");
                            self.problem(origin.clone(), sentence);
                        }
                    }
                }
                continue;
            }
            match (self.schema.find(&path), value.get_ref()) {
                (Some(_), value) => match raw(value) {
                    Some(raw) => {
                        self.values.insert(path, (raw, origin));
                    }
                    None => {
                        self.problem(origin, format!("`{path}` can't be a {}", value.type_str()))
                    }
                },
                (None, DeValue::Table(inner)) if self.schema.is_table(&path) => {
                    self.table(&path, inner, lines);
                }
                (None, _) => self.unknown(&path, origin),
            }
        }
    }

    fn set_text(&mut self, path: &str, value: &str, origin: Origin) {
        let kind = self.schema.find(path).map(|key| key.kind);
        // A variable that is there and empty gives nothing, as where one text is meant.
        if matches!(kind, Some(Kind::SecretList)) && value.trim().is_empty() {
            self.values.remove(path);
            return;
        }
        let raw = match kind {
            Some(Kind::List | Kind::Secrets | Kind::SecretList) => Raw::List(
                value
                    .split(',')
                    .map(|part| part.trim().to_owned())
                    .filter(|part| !part.is_empty())
                    .collect(),
            ),
            Some(Kind::Map | Kind::SecretMap) => {
                let pairs = value.split(',').filter(|pair| !pair.trim().is_empty());
                let pairs = pairs.map(|pair| {
                    let (name, value) = pair.split_once('=')?;
                    Some((name.trim().to_owned(), value.trim().to_owned()))
                });
                let Some(pairs) = pairs.collect() else {
                    let sentence = format!("`{path}` is written as name=value,name=value");
                    self.problem(origin, sentence);
                    return;
                };
                Raw::Map(pairs)
            }
            _ => Raw::Scalar(value.to_owned()),
        };
        self.values.insert(path.to_owned(), (raw, origin));
    }

    fn unknown(&mut self, path: &str, origin: Origin) {
        let sentence = match self.schema.suggestion(path) {
            Some(known) => format!("unknown key `{path}`; did you mean `{known}`?"),
            None => format!("unknown key `{path}`"),
        };
        self.problem(origin, sentence);
    }

    /// The file that this flag names can't be read. What is missing for that reason is no problem of
    /// its own.
    pub fn unread(&mut self, flag: &'static str, sentence: String) {
        self.is_unread = true;
        self.problem(Origin::Flag(flag), sentence);
    }

    fn problem(&mut self, origin: Origin, sentence: String) {
        self.problems.push(Problem { origin, sentence });
    }
}

/// Whether a variable of this name is read.
fn is_ours(name: &str) -> bool {
    name == CREDENTIALS_DIRECTORY || name == PUBLIC_URL || name.starts_with(PREFIX)
}

fn raw(value: &DeValue<'_>) -> Option<Raw> {
    match value {
        DeValue::Array(items) => items
            .iter()
            .map(|item| scalar(item.get_ref()))
            .collect::<Option<_>>()
            .map(Raw::List),
        DeValue::Table(table) => table
            .iter()
            .map(|(name, value)| Some((name.get_ref().to_string(), scalar(value.get_ref())?)))
            .collect::<Option<_>>()
            .map(Raw::Map),
        value => scalar(value).map(Raw::Scalar),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Integer(number) => Some(number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}

struct Lines<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Lines<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        Origin::File {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;
    use crate::config::SCHEMA;

    fn read(text: &str) -> Layers {
        let mut layers = Layers::new(&SCHEMA);
        layers.file(Path::new("gateway.toml"), text);
        layers
    }

    #[test]
    fn an_unknown_key_names_file_line_and_the_likely_key() {
        let layers = read("title = \"x\"\n[tokens]\nacess_ttl = \"1h\"\n");
        assert_eq!(
            layers.problems[0].to_string(),
            "gateway.toml:3: unknown key `tokens.acess_ttl`; did you mean `tokens.access_ttl`?"
        );
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let layers = read("title = \"x\"\nlisten = [\n");
        assert!(layers.problems[0].to_string().starts_with("gateway.toml:"));
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let mut layers = read(
            "public_url = \"https://file\"\n[store]\nurl = \"file:a\"\n[[backend]]\nurl = \"http://b\"\n",
        );
        let variables = [
            ("GATEWAY_PUBLIC_URL", "https://env"),
            ("GATEWAY__STORE__URL", "file:env"),
            ("GATEWAY__BACKEND__1__URL", "http://c"),
            ("GATEWAY__LISTEN", "a:1, b:2"),
            ("HOME", "x"),
        ];
        layers.environment(
            variables
                .iter()
                .map(|(a, b)| (OsString::from(*a), OsString::from(*b))),
        );
        layers.flag("store.url", "--store", "file:flag");
        let text = |path: &str| layers.value(path).unwrap().0.clone();
        assert_eq!(text("public_url"), Raw::Scalar("https://env".into()));
        assert_eq!(text("store.url"), Raw::Scalar("file:flag".into()));
        assert_eq!(text("listen"), Raw::List(vec!["a:1".into(), "b:2".into()]));
        assert_eq!(layers.count("backend"), 2);
        assert!(layers.problems.is_empty());
    }

    #[test]
    fn a_variable_that_is_no_text_is_a_problem_if_it_is_ours_and_nothing_if_it_is_not() {
        let (text, other) = (OsStr::new("x"), OsStr::from_bytes(b"\xff"));
        let problems = |name: &OsStr, value: &OsStr| {
            let mut layers = Layers::new(&SCHEMA);
            layers.environment([(name.to_owned(), value.to_owned())].into_iter());
            let problems = layers.problems.iter();
            problems.map(ToString::to_string).collect::<Vec<_>>()
        };
        for (name, value) in [
            (OsStr::new("X"), other),
            (other, text),
            (OsStr::new("GATEWAY_BACKUP_PASSPHRASE"), other),
        ] {
            assert!(problems(name, value).is_empty(), "{name:?}");
        }
        let ours = [
            "GATEWAY_PUBLIC_URL",
            "GATEWAY__LISTEN",
            "CREDENTIALS_DIRECTORY",
        ];
        for name in ours {
            let told = format!("environment {name}: is no text in UTF-8");
            assert_eq!(problems(OsStr::new(name), other), [told]);
        }
        let name = OsStr::from_bytes(b"GATEWAY__LISTEN\xff");
        assert_eq!(problems(name, text).len(), 1);
    }
}
