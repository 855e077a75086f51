//! `client_secret_basic`, as a client sends it (RFC 6749 §2.3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded::byte_serialize;

use crate::text_type::is_alphanumeric_or;

/// The value of `Authorization`: both are encoded as in a form first.
pub fn basic(client_id: &str, secret: &str) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let both = format!("{}:{}", encoded(client_id), encoded(secret));
    format!("Basic {}", STANDARD.encode(both))
}

/// Whether the encoding changes nothing: some servers don't undo it (glewlwyd is one).
pub fn is_safe_as_basic(client_id: &str, secret: &str) -> bool {
    let is_plain = |text| is_alphanumeric_or(text, b"-._");
    is_plain(client_id) && is_plain(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_encoded_as_in_a_form_and_what_that_changes_is_known() {
        // `printf 'a%%3Ab:s+%%2F' | base64`
        assert_eq!(basic("a:b", "s /"), "Basic YSUzQWI6cyslMkY=");
        assert!(is_safe_as_basic("client-1", "s.e_cret"));
        assert!(!is_safe_as_basic("client 1", "secret"));
        assert!(!is_safe_as_basic("client", "se/cret"));
    }
}
