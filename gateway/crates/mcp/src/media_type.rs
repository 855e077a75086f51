//! What kind of content a message says it has (RFC 9110 §8.3.1): type and subtype in any case, with
//! whatever parameters.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The type and subtype in lower case, without parameters; empty where none is named.
pub fn essence(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .map(|kind| kind.trim().to_ascii_lowercase())
        .unwrap_or_default()
}

/// Whether it is a stream of server-sent events.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    essence(headers) == "text/event-stream"
}

/// Whether it is JSON-RPC, as it is over HTTP.
pub fn is_json(headers: &HeaderMap) -> bool {
    essence(headers) == "application/json"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_blanks_and_parameters_change_nothing() {
        for (value, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream", true),
            (" TEXT/EVENT-STREAM ;charset=UTF-8", true),
            ("text/event-stream;x=\"a;b\"", true),
            ("text/event-streams", false),
            ("application/json; x=text/event-stream", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_event_stream(&headers), expected, "{value:?}");
        }
        assert!(!is_event_stream(&HeaderMap::new()));
    }

    #[test]
    fn only_json_is_json() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/jsonp", false),
            ("application/x-www-form-urlencoded", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_json(&headers), expected, "{value:?}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
