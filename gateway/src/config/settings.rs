//! The form in which keys are written: a table of the configuration is a struct, each of its keys one
//! row. The row is the field, its type, its default, its parser; its doc comment is what the manual
//! says. From it come the field, the reading, the default, the environment variable, the line of
//! `gateway check`, the suggestion for a key that is misspelled, and the manual's reference.
//!
//! What concerns several keys at once, or depends on others, is no row: it stands in the file of the
//! table.

use crate::config::layers::Raw;
use crate::config::reader::Reader;
use crate::config::schema::Kind;

/// What the text of one value becomes, or what is wrong with it.
pub(super) type Parse<T> = fn(&str) -> Result<T, String>;

/// How a field takes its value: `T` must have a default, `Option<T>` has none, `Vec<T>` is a list.
///
/// Reading always gives a value: one that is wrong is noted, and stands at its default while the rest
/// is read, so that every problem is told at once. Nothing is used of a configuration with a problem.
pub(super) trait Setting<T>: Sized {
    /// How it is written.
    const KIND: Kind;

    fn read(reader: &mut Reader<'_>, path: &str, parse: Parse<T>) -> Self;
}

impl<T> Setting<T> for T {
    const KIND: Kind = Kind::One;

    fn read(reader: &mut Reader<'_>, path: &str, parse: Parse<T>) -> Self {
        let value = reader.parsed(path, parse);
        // Whoever adds a default that is none is told so at once: every command reads them all.
        value.unwrap_or_else(|| {
            parse(reader.default(path)).expect("a default is a value of its key")
        })
    }
}

impl<T> Setting<T> for Option<T> {
    const KIND: Kind = Kind::One;

    fn read(reader: &mut Reader<'_>, path: &str, parse: Parse<T>) -> Self {
        reader.parsed(path, parse)
    }
}

impl<T> Setting<T> for Vec<T> {
    const KIND: Kind = Kind::List;

    fn read(reader: &mut Reader<'_>, path: &str, parse: Parse<T>) -> Self {
        reader.list(path, parse)
    }
}

/// A text that is never printed.
#[derive(Clone)]
pub(super) struct SecretText(pub(super) Option<String>);

impl Setting<String> for SecretText {
    const KIND: Kind = Kind::Secret;

    fn read(reader: &mut Reader<'_>, path: &str, _parse: Parse<String>) -> Self {
        Self(reader.text(path))
    }
}

/// A list of texts that are never printed; one text is a list of one.
#[derive(Clone)]
pub(super) struct SecretTexts(pub(super) Vec<String>);

impl Setting<String> for SecretTexts {
    const KIND: Kind = Kind::Secrets;

    fn read(reader: &mut Reader<'_>, path: &str, parse: Parse<String>) -> Self {
        Self(reader.list(path, parse))
    }
}

/// A program and its arguments, byte for byte.
#[derive(Clone)]
pub(super) struct Words(pub(super) Vec<String>);

impl Setting<String> for Words {
    const KIND: Kind = Kind::List;

    fn read(reader: &mut Reader<'_>, path: &str, _parse: Parse<String>) -> Self {
        Self(reader.words(path))
    }
}

/// A table of texts; `None`: it is written as something else.
#[derive(Clone)]
pub(super) struct Pairs(pub(super) Option<Vec<(String, String)>>);

impl Setting<String> for Pairs {
    const KIND: Kind = Kind::Map;

    fn read(reader: &mut Reader<'_>, path: &str, _parse: Parse<String>) -> Self {
        Self(reader.pairs(path))
    }
}

/// The same with values that are never printed.
#[derive(Clone)]
pub(super) struct SecretPairs(pub(super) Option<Vec<(String, String)>>);

impl Setting<String> for SecretPairs {
    const KIND: Kind = Kind::SecretMap;

    fn read(reader: &mut Reader<'_>, path: &str, _parse: Parse<String>) -> Self {
        Self(reader.pairs(path))
    }
}

/// A list of `NAME` or `NAME=VALUE`, the values of which are never printed; `None`: it is written as
/// something else, which was noted.
#[derive(Clone)]
pub(super) struct SecretList(pub(super) Option<Vec<String>>);

impl Setting<String> for SecretList {
    const KIND: Kind = Kind::SecretList;

    fn read(reader: &mut Reader<'_>, path: &str, _parse: Parse<String>) -> Self {
        match reader.layers.value(path) {
            Some((Raw::List(items), _)) => Self(Some(items.clone())),
            Some((Raw::Scalar(item), _)) => Self(Some(vec![item.clone()])),
            Some((Raw::Map(_), _)) => {
                reader.wrong(path, "takes a list");
                Self(None)
            }
            None => Self(Some(Vec::new())),
        }
    }
}

/// The kind of a field, by its parser.
pub(super) const fn kind_of<S: Setting<T>, T>(_parse: Parse<T>) -> Kind {
    S::KIND
}

/// A table: `struct NAME in "PREFIX"`, in which `[]` stands for each table of a list and `NAME` for
/// each name; then a row for each key, `FIELD: TYPE = "DEFAULT", PARSER;`. A doc comment goes into the
/// manual as it stands. The types of this file read whole texts, so their parser is `values::text`.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident in $prefix:literal {
            $(
                $(#[doc = $about:literal])+
                $field_vis:vis $field:ident: $type:ty $(= $default:literal)?, $parse:expr;
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone)]
        $vis struct $name {
            $($(#[doc = $about])+ $field_vis $field: $type,)+
        }

        impl $name {
            /// What the rows say.
            pub(in crate::config) const KEYS: &[$crate::config::schema::Key] = &[$(
                $crate::config::schema::Key {
                    path: concat!($prefix, stringify!($field)),
                    kind: $crate::config::settings::kind_of::<$type, _>($parse),
                    default: concat!($($default)?),
                    about: concat!($($about),+).trim_ascii_start(),
                },
            )+];

            /// Reads the table at a concrete path, such as `backend.0`; empty: keys outside of any.
            pub(in crate::config) fn read(
                reader: &mut $crate::config::reader::Reader<'_>,
                table: &str,
            ) -> Self {
                let at = |key: &str| match table {
                    "" => key.to_owned(),
                    table => format!("{table}.{key}"),
                };
                Self {
                    $($field: <$type as $crate::config::settings::Setting<_>>::read(
                        reader,
                        &at(stringify!($field)),
                        $parse,
                    ),)+
                }
            }
        }
    };
}

pub(super) use settings;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::layers::Layers;
    use crate::config::printed;
    use crate::config::schema::Schema;
    use crate::config::{units, values};

    settings! {
        /// A table of one key: this row is all that is written about it.
        struct Sample in "sample." {
            /// How long the sample
            /// is kept.
            patience: std::time::Duration = "15s", units::duration;
        }
    }

    settings! {
        struct Repeated in "sample_list[]." {
            /// Which ones.
            names: Vec<String>, values::text;
            /// What nobody may see.
            hidden: SecretText, values::text;
        }
    }

    static SCHEMA: Schema = Schema(&[Sample::KEYS, Repeated::KEYS]);

    fn layers(text: &str) -> Layers {
        let mut layers = Layers::new(&SCHEMA);
        layers.file(Path::new("sample.toml"), text);
        layers
    }

    fn patience(layers: &Layers) -> (u64, Vec<String>) {
        let mut reader = Reader::new(layers);
        let sample = Sample::read(&mut reader, "sample");
        let problems = reader.problems.iter().map(ToString::to_string).collect();
        (sample.patience.as_secs(), problems)
    }

    #[test]
    fn one_row_is_read_defaulted_printed_suggested_and_documented() {
        assert_eq!(patience(&layers("")), (15, Vec::new()));
        let mut written = layers("[sample]\npatience = \"2m\"\n");
        assert_eq!(patience(&written), (120, Vec::new()));
        let variable = ("GATEWAY__SAMPLE__PATIENCE".into(), "7s".into());
        written.environment([variable].into_iter());
        assert_eq!(patience(&written).0, 7);
        let lines = printed(&layers(""));
        assert_eq!(lines[0].0, "sample.patience");
        assert_eq!(lines[0].1, "15s");
        let (seconds, problems) = patience(&layers("[sample]\npatience = \"soon\"\n"));
        assert_eq!(seconds, 15);
        assert_eq!(
            problems,
            [
                "sample.toml:2: `sample.patience` must be a number with a unit, such as 15s, 10m or 24h; it is `soon`"
            ]
        );
        assert_eq!(
            layers("[sample]\npatiense = \"1s\"\n").problems[0].to_string(),
            "sample.toml:2: unknown key `sample.patiense`; did you mean `sample.patience`?"
        );
        let row = "| `sample.patience` | `15s` | How long the sample is kept. |\n";
        assert!(SCHEMA.reference().contains(row), "{}", SCHEMA.reference());
    }

    #[test]
    fn the_type_of_a_row_says_how_it_is_written() {
        let kinds: Vec<Kind> = Repeated::KEYS.iter().map(|key| key.kind).collect();
        assert_eq!(kinds, [Kind::List, Kind::Secret]);
        let layers = layers("[[sample_list]]\nnames = [\"a\", \"b\"]\nhidden = \"hunter2\"\n");
        let mut reader = Reader::new(&layers);
        let first = Repeated::read(&mut reader, "sample_list.0");
        assert_eq!(first.names, ["a", "b"]);
        assert_eq!(first.hidden.0.as_deref(), Some("hunter2"));
        assert!(!format!("{:?}", printed(&layers)).contains("hunter2"));
    }
}
