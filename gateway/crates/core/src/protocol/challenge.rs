//! Challenges of resource servers, as a client reads them (RFC 9110 §11.6.1, RFC 6750 §3).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// The parameters of a Bearer challenge, if there is one.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(WWW_AUTHENTICATE);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(|value| {
            let (scheme, parameters) = value.split_once(' ').unwrap_or((value, ""));
            scheme.eq_ignore_ascii_case("bearer").then_some(parameters)
        })
}

/// One parameter of a challenge (RFC 9110 §11.2), unquoted.
pub fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut rest = parameters.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = value(after)?;
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after.trim_start_matches([' ', ',']);
    }
    None
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.trim_start().strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return Some((text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return Some((value, &quoted[at + 1..])),
            c => {
                value.push(c);
                escaped = false;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_parameters_of_the_bearer_challenge_are_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"x\""),
        );
        let bearer_line =
            "bearer error=invalid_token, scope=\"a b\", resource_metadata=\"https://a/\\\"b\"";
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(bearer_line));
        let found = bearer(&headers).unwrap();
        assert_eq!(parameter(found, "SCOPE").as_deref(), Some("a b"));
        assert_eq!(parameter(found, "error").as_deref(), Some("invalid_token"));
        assert_eq!(
            parameter(found, "resource_metadata").as_deref(),
            Some("https://a/\"b")
        );
        assert_eq!(parameter(found, "realm"), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
