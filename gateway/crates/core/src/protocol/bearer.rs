//! Bearer tokens on the wire: RFC 6750 §2.1. Only the Authorization header carries one: a token in
//! a query, a form or a cookie is no token here (OAuth 2.1 §5.1).

use crate::text_type::{hidden, is_alphanumeric_or};

/// The longest token that is looked at, in bytes. Ours have about 800.
const LONGEST: usize = 4096;

/// A token as presented: of the right characters and length, not yet verified.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(String);

impl BearerToken {
    /// Takes `b64token` of RFC 6750 §2.1, at most 4 KiB.
    pub fn parse_token(text: &str) -> Option<Self> {
        is_b64token(text).then(|| Self(text.to_owned()))
    }

    /// The text. Never log it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

hidden!(BearerToken);

/// What the Authorization header of a request presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BearerPresentation {
    /// No header, or one of another scheme: the client does not know yet what is wanted.
    Nothing,
    /// A bearer token of the right form.
    Token(BearerToken),
    /// The Bearer scheme with something that can't be a token.
    Malformed,
    /// The header stands more than once (RFC 6750 §2: at most one method in a request).
    Repeated,
}

impl BearerPresentation {
    /// Reads the lines of the Authorization header.
    pub fn read<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let Some(line) = lines.next() else {
            return Self::Nothing;
        };
        if lines.next().is_some() {
            return Self::Repeated;
        }
        let Ok(line) = std::str::from_utf8(line) else {
            return Self::Malformed;
        };
        let (scheme, rest) = line.split_once(' ').unwrap_or((line, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Self::Nothing;
        }
        match BearerToken::parse_token(rest.trim_matches(' ')) {
            Some(token) => Self::Token(token),
            None => Self::Malformed,
        }
    }
}

fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && text.len() <= LONGEST && is_alphanumeric_or(body, b"-._~+/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> BearerPresentation {
        BearerPresentation::read(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn the_example_of_rfc_6750_is_a_token() {
        let BearerPresentation::Token(token) = read(&["Bearer mF_9.B5f-4.1JqM"]) else {
            panic!("no token");
        };
        assert_eq!(token.as_str(), "mF_9.B5f-4.1JqM");
        assert_eq!(
            read(&["bEaReR  mF_9.B5f-4.1JqM "]),
            read(&["Bearer mF_9.B5f-4.1JqM"])
        );
        assert_eq!(format!("{token:?}"), "BearerToken(…)");
    }

    #[test]
    fn another_scheme_presents_no_token() {
        for line in ["Basic dTpw", "", "Digest x", "Bearerx y", "DPoP abc"] {
            assert_eq!(read(&[line]), BearerPresentation::Nothing, "{line}");
        }
        assert_eq!(read(&[]), BearerPresentation::Nothing);
    }

    #[test]
    fn what_can_be_no_token_is_malformed() {
        let long = format!("Bearer {}", "a".repeat(LONGEST + 1));
        for line in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer \"a\"",
            "Bearer =",
            "Bearer a=b",
            "Bearer ä",
            "Bearer a, Bearer b",
            "Bearer\ta",
            &long,
        ] {
            let read = read(&[line]);
            assert!(
                read == BearerPresentation::Malformed
                    || line.starts_with("Bearer\t") && read == BearerPresentation::Nothing,
                "{line}: {read:?}"
            );
        }
        assert_eq!(
            BearerPresentation::read([&b"Bearer \xff"[..]].into_iter()),
            BearerPresentation::Malformed
        );
    }

    #[test]
    fn two_headers_are_refused_even_if_equal() {
        assert_eq!(
            read(&["Bearer a", "Bearer a"]),
            BearerPresentation::Repeated
        );
        assert_eq!(read(&["Basic a", "Bearer a"]), BearerPresentation::Repeated);
    }
}
