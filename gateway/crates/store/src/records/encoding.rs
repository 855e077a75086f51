//! How a record is written: as a JSON object of its members and two more.
//!
//! | member | what |
//! |---|---|
//! | `format` | the version of its form, a number from 1 |
//! | `written_by` | the program that wrote it, with its version |
//!
//! A record without `format` is one of format 1: the gateway wrote neither member before it had them.
//! A record of a later format than this program knows is refused, with a sentence that names the
//! program that wrote it, and is not written over; removing it, or revoking it, goes on. So a gateway
//! that was set back to an earlier version says what it can't read, and loses nothing.
//!
//! What readers of an earlier version do:
//!
//! - one from before there were formats ignores both members, as it ignores every member that it
//!   doesn't know, and reads the rest as its own. It writes the record without them.
//! - a later one refuses what is of a later format than its own.
//!
//! Hence the rule for changes. A member that earlier versions may ignore, and may drop when they write
//! the record again, is added with a default and leaves the format as it is. Any other change raises
//! [`Record::FORMAT`], and takes another key if versions from before there were formats are still to
//! be refused it.
//!
//! Marks, counts, last uses, earlier tools, login locks and the noted signing key are no objects and
//! have no room for a version: their form is fixed by the kind of their key, and another form takes
//! another kind.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::error::Category;

use crate::error::{Corrupt, StoreError};
use crate::key::KeyKind;
use crate::program::PROGRAM;

/// What is written as a JSON object, with the version of its form.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// The latest format, which is the one that is written. All of before are read.
    const FORMAT: u32 = 1;
}

#[derive(Serialize)]
struct Written<'a, T> {
    #[serde(flatten)]
    record: &'a T,
    format: u32,
    written_by: &'static str,
}

/// What a record says of itself.
#[derive(Deserialize)]
struct Head {
    format: Option<u32>,
    written_by: Option<String>,
}

/// A record as it is written.
pub(super) fn encode<T: Record>(record: &T) -> Vec<u8> {
    encode_value(&Written {
        record,
        format: T::FORMAT,
        written_by: PROGRAM,
    })
}

/// Reads a record of any format up to this program's. [`StoreError::Corrupt`] for what is not of its
/// form, or of a later one.
pub(super) fn decode<T: Record>(kind: KeyKind, bytes: &[u8]) -> Result<T, StoreError> {
    let head = decode_value(kind, bytes)?;
    refuse_later::<T>(kind, head)?;
    decode_value(kind, bytes)
}

/// Refuses what a later version wrote in a format of its own; anything else passes.
pub(super) fn refuse_newer<T: Record>(kind: KeyKind, bytes: &[u8]) -> Result<(), StoreError> {
    match serde_json::from_slice(bytes) {
        Ok(head) => refuse_later::<T>(kind, head),
        Err(_) => Ok(()),
    }
}

fn refuse_later<T: Record>(kind: KeyKind, head: Head) -> Result<(), StoreError> {
    /// Of what other programs call themselves, which is theirs to choose.
    const LONGEST: usize = 60;
    let format = head.format.unwrap_or(1);
    if format <= T::FORMAT {
        return Ok(());
    }
    let program = head.written_by.unwrap_or_else(|| "a program".to_owned());
    let plain = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
    Err(StoreError::Corrupt(Corrupt::Newer {
        kind,
        format,
        known: T::FORMAT,
        written_by: program.chars().take(LONGEST).map(plain).collect(),
    }))
}

/// A value whose form its kind fixes.
pub(super) fn encode_value(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records have text keys only, so they serialise")
}

/// Reads a value whose form its kind fixes.
pub(super) fn decode_value<T: DeserializeOwned>(
    kind: KeyKind,
    bytes: &[u8],
) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(kind, &error))
}

/// Where it is wrong and how. The parser's own sentence stays out: it repeats what it found.
fn malformed(kind: KeyKind, error: &serde_json::Error) -> StoreError {
    let what = match error.classify() {
        Category::Syntax => "no JSON",
        Category::Eof => "cut short",
        Category::Data | Category::Io => "a member is missing or of another form",
    };
    let fault = format!("{what} (at byte {})", error.column());
    Corrupt::Record { kind, fault }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        name: String,
    }

    impl Record for Thing {
        const FORMAT: u32 = 2;
    }

    fn thing() -> Thing {
        Thing {
            name: "x".to_owned(),
        }
    }

    fn read(text: &str) -> Result<Thing, StoreError> {
        decode(KeyKind::Client, text.as_bytes())
    }

    #[test]
    fn a_record_says_its_format_and_who_wrote_it_and_earlier_readers_ignore_both() {
        let bytes = encode(&thing());
        let text = String::from_utf8(bytes.clone()).unwrap();
        let expected = format!(r#"{{"name":"x","format":2,"written_by":"{PROGRAM}"}}"#);
        assert_eq!(text, expected);
        assert_eq!(read(&text).unwrap(), thing());
        // As versions read that knew no formats.
        assert_eq!(serde_json::from_slice::<Thing>(&bytes).unwrap(), thing());
    }

    #[test]
    fn formats_up_to_the_own_are_read_and_later_ones_refused() {
        for text in [
            r#"{"name":"x"}"#,
            r#"{"name":"x","format":1}"#,
            r#"{"format":2,"name":"x"}"#,
            r#"{"format":2,"name":"x","later":[1]}"#,
        ] {
            assert_eq!(read(text).unwrap(), thing(), "{text}");
        }
        // Also where nothing else of it can be read.
        for text in [
            r#"{"name":"x","format":3,"written_by":"gateway 9.0.0"}"#,
            r#"{"title":"x","format":3,"written_by":"gateway 9.0.0"}"#,
        ] {
            let error = read(text).unwrap_err();
            let newer = Corrupt::Newer {
                kind: KeyKind::Client,
                format: 3,
                known: 2,
                written_by: "gateway 9.0.0".to_owned(),
            };
            assert_eq!(error, StoreError::Corrupt(newer));
            let said = error.to_string();
            for words in ["client", "format 3", "gateway 9.0.0", PROGRAM] {
                assert!(said.contains(words), "{said}");
            }
        }
        for text in [
            r#"{"name":"x","format":"3"}"#,
            r#"{"name":"x","format":-1}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
