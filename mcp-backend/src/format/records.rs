//! JSON records: a list, or an object with a list `records`, of
//! `{"id", "title", "text", "url"?, "metadata"?}`. Each record is a document of its own.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use url::Url;

use super::{FormatError, LONGEST_TITLE, Parsed};
use crate::document::Document;
use crate::outline;
use crate::text::{clean, one_line};

/// Records beyond this many in one file are left out.
const MOST_RECORDS: usize = 50_000;
/// Faults that are told of one file.
const MOST_FAULTS: usize = 100;

pub(super) fn parse(source: &str, text: &str) -> Result<Parsed, FormatError> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let value: Value =
        serde_json::from_str(text).map_err(|error| FormatError::Syntax(error.to_string()))?;
    let records = match value {
        Value::Array(records) => records,
        Value::Object(mut object) => match object.remove("records") {
            Some(Value::Array(records)) => records,
            _ => return Err(FormatError::Shape),
        },
        _ => return Err(FormatError::Shape),
    };

    let mut parsed = Parsed::default();
    let mut ids = HashSet::new();
    let count = records.len();
    for (index, record) in records.into_iter().take(MOST_RECORDS).enumerate() {
        match document(source, record) {
            Ok(document) if !ids.insert(document.record.clone()) => {
                let fault = format!("record {}: its id is used twice", index + 1);
                parsed.faults.push(fault);
            }
            Ok(document) => parsed.documents.push(document),
            Err(fault) => parsed.faults.push(format!("record {}: {fault}", index + 1)),
        }
    }
    if parsed.faults.len() > MOST_FAULTS {
        let more = parsed.faults.len() - MOST_FAULTS;
        parsed.faults.truncate(MOST_FAULTS);
        parsed
            .faults
            .push(format!("{more} more records are left out"));
    }
    if count > MOST_RECORDS {
        parsed.faults.push(format!(
            "the file has {count} records; those after the first {MOST_RECORDS} are left out"
        ));
    }
    Ok(parsed)
}

/// Why a record is left out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("it is not an object")]
    NotObject,
    #[error("its \"{0}\" is missing or not text")]
    NotText(&'static str),
    #[error("its \"url\" is not an absolute http or https address")]
    BadUrl,
    #[error("its \"metadata\" is not an object")]
    BadMetadata,
}

fn document(source: &str, record: Value) -> Result<Document, Fault> {
    let Value::Object(mut record) = record else {
        return Err(Fault::NotObject);
    };
    let id = match record.remove("id") {
        Some(Value::String(id)) if !id.is_empty() => id,
        Some(Value::Number(id)) => id.to_string(),
        _ => return Err(Fault::NotText("id")),
    };
    let Some(Value::String(title)) = record.remove("title") else {
        return Err(Fault::NotText("title"));
    };
    let Some(Value::String(text)) = record.remove("text") else {
        return Err(Fault::NotText("text"));
    };
    let url = match record.remove("url") {
        None | Some(Value::Null) => None,
        Some(Value::String(url)) => Some(web_address(&url).ok_or(Fault::BadUrl)?),
        Some(_) => return Err(Fault::BadUrl),
    };
    let metadata = match record.remove("metadata") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(Value::Object(pairs)) => pairs
            .into_iter()
            .map(|(key, value)| (clean(&key), clean(&plain(value))))
            .collect(),
        Some(_) => return Err(Fault::BadMetadata),
    };

    let text = clean(&text);
    Ok(Document {
        source: source.to_owned(),
        title: one_line(&clean(&title), LONGEST_TITLE),
        url,
        metadata,
        sections: outline::sections(&text, &[]),
        text,
        record: Some(id),
    })
}

/// An address that a person can open from a citation, and nothing else.
fn web_address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_and_an_object_with_a_list_are_the_same() {
        let record = r#"{"id":"o-1","title":"An order","text":"12 cakes","url":"https://example.com/o-1","metadata":{"paid":true,"note":"x"}}"#;
        let list = parse("r.json", &format!("[{record}]")).unwrap();
        let object = parse(
            "r.json",
            &format!(r#"{{"version":1,"records":[{record}]}}"#),
        )
        .unwrap();
        assert_eq!(list, object);
        let document = &list.documents[0];
        assert_eq!(document.record.as_deref(), Some("o-1"));
        assert_eq!(
            document.url.as_ref().unwrap().as_str(),
            "https://example.com/o-1"
        );
        assert_eq!(document.metadata["paid"], "true");
    }

    #[test]
    fn a_bad_record_is_named_and_the_others_stay() {
        let parsed = parse(
            "r.json",
            r#"[{"id":7,"title":"a","text":"b"},{"title":"a","text":"b"},3,{"id":"7","title":"x","text":"y"},
                {"id":"u","title":"a","text":"b","url":"javascript:alert(1)"},{"id":"m","title":"a","text":"b","metadata":[]}]"#,
        )
        .unwrap();
        assert_eq!(parsed.documents.len(), 1);
        assert_eq!(
            parsed.faults,
            [
                "record 2: its \"id\" is missing or not text",
                "record 3: it is not an object",
                "record 4: its id is used twice",
                "record 5: its \"url\" is not an absolute http or https address",
                "record 6: its \"metadata\" is not an object",
            ]
        );
    }

    #[test]
    fn a_flood_of_records_is_bounded_and_it_is_said() {
        let many: Vec<String> = (0..MOST_RECORDS + 5)
            .map(|id| format!(r#"{{"id":{id},"title":"t","text":""}}"#))
            .collect();
        let parsed = parse("r.json", &format!("[{}]", many.join(","))).unwrap();
        assert_eq!(parsed.documents.len(), MOST_RECORDS);
        assert_eq!(parsed.faults.len(), 1);
        assert!(parsed.faults[0].contains("50005 records"));
        let broken = format!("[{}1]", "1,".repeat(MOST_RECORDS));
        assert_eq!(
            parse("r.json", &broken).unwrap().faults.len(),
            MOST_FAULTS + 2
        );
    }

    #[test]
    fn other_json_is_refused_with_the_reason() {
        assert_eq!(parse("r.json", r#"{"a":1}"#), Err(FormatError::Shape));
        assert_eq!(parse("r.json", "3"), Err(FormatError::Shape));
        assert!(matches!(parse("r.json", "[{"), Err(FormatError::Syntax(_))));
        assert!(matches!(
            parse("r.json", &"[".repeat(100_000)),
            Err(FormatError::Syntax(_))
        ));
    }
}
