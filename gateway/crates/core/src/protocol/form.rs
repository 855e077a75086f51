//! Parameters in `application/x-www-form-urlencoded`, from a query or a body, read strictly: one
//! reading only, or none.
//!
//! Owns: decoding, and the rules of OAuth 2.1 §3.1 for parameters (sent twice: refused; sent
//! empty: absent; unknown: ignored). Not: what a parameter means.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::hex;

/// More parameters than any request of OAuth has.
pub const MAX_PARAMETERS: usize = 100;

/// Why parameters can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A percent sign that no two hexadecimal digits follow, or bytes that are not UTF-8.
    #[error("the parameters are not valid application/x-www-form-urlencoded in UTF-8")]
    Malformed,
    /// More than [`MAX_PARAMETERS`].
    #[error("there are too many parameters")]
    TooMany,
    /// A parameter that may stand once stands twice.
    #[error("the parameter {0} is repeated")]
    Repeated(&'static str),
}

/// The parameters of one request, decoded, in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a query or a body.
    pub fn parse(encoded: &[u8]) -> Result<Self, FormError> {
        Self::parse_up_to(encoded, MAX_PARAMETERS)
    }

    /// Reads one that may have `most` parameters, such as a form with many boxes to tick.
    pub fn parse_up_to(encoded: &[u8], most: usize) -> Result<Self, FormError> {
        let mut parameters = Vec::new();
        for pair in encoded.split(|&byte| byte == b'&') {
            if pair.is_empty() {
                continue;
            }
            if parameters.len() == most {
                return Err(FormError::TooMany);
            }
            let (name, value) = match pair.iter().position(|&byte| byte == b'=') {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            let decoded = decode(name).zip(decode(value));
            parameters.push(decoded.ok_or(FormError::Malformed)?);
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter that may stand once. Empty is absent (OAuth 2.1 §3.1).
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, FormError> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            Some(_) => Err(FormError::Repeated(name)),
            None => Ok(first.filter(|value| !value.is_empty())),
        }
    }

    /// The values of a parameter that may repeat, empty ones included.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Decodes one name or value: `+` is a space, `%XX` a byte, the whole is UTF-8. `None` for
/// anything that another decoder might read differently.
pub fn decode(encoded: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex::digit(rest.next()?)? << 4 | hex::digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Whether the one Content-Type header names exactly `expected`; parameters such as `charset` may
/// follow it.
pub fn has_media_type(headers: &HeaderMap, expected: &str) -> bool {
    let mut lines = headers.get_all(CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return false;
    };
    line.to_str().is_ok_and(|line| {
        let essence = line.split_once(';').map_or(line, |(essence, _)| essence);
        essence.trim().eq_ignore_ascii_case(expected)
    })
}

/// Parameters may be secrets: only their number is printed.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Form({} parameters)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once_and_bytes_are_kept() {
        let form = Form::parse(b"state=a%2Bb+c%252F%C3%A9&scope=mcp&x").unwrap();
        assert_eq!(form.one("state"), Ok(Some("a+b c%2Fé")));
        assert_eq!(form.one("scope"), Ok(Some("mcp")));
        assert_eq!(form.one("x"), Ok(None));
        assert_eq!(form.one("absent"), Ok(None));
    }

    #[test]
    fn a_parameter_sent_twice_is_refused_even_when_one_is_empty() {
        for query in ["state=a&state=a", "state=&state=a", "state&%73tate=b"] {
            let form = Form::parse(query.as_bytes()).unwrap();
            assert_eq!(form.one("state"), Err(FormError::Repeated("state")));
        }
    }

    #[test]
    fn what_two_decoders_may_read_differently_is_refused() {
        for query in ["a=%", "a=%4", "a=%4g", "a=%+1", "a=%ff", "%c3=1"] {
            assert_eq!(
                Form::parse(query.as_bytes()),
                Err(FormError::Malformed),
                "{query}"
            );
        }
        let many = "a&".repeat(MAX_PARAMETERS + 1);
        assert_eq!(Form::parse(many.as_bytes()), Err(FormError::TooMany));
    }

    #[test]
    fn only_the_exact_media_type_is_the_media_type() {
        let header = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            headers
        };
        let form = "application/x-www-form-urlencoded";
        assert!(has_media_type(&header(form), form));
        assert!(has_media_type(
            &header("Application/X-WWW-Form-URLencoded; charset=UTF-8"),
            form
        ));
        for wrong in [
            "application/json",
            "application/x-www-form-urlencoded-x",
            "text/plain;application/x-www-form-urlencoded",
            "",
        ] {
            assert!(!has_media_type(&header(wrong), form), "{wrong}");
        }
        let mut twice = header(form);
        twice.append(CONTENT_TYPE, form.parse().unwrap());
        assert!(!has_media_type(&twice, form));
        assert!(!has_media_type(&HeaderMap::new(), form));
    }
}
