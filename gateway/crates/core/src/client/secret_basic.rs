//! A client's secret, as the client sends it (RFC 6749 §2.3.1): in a header or in the form.

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

/// How a server takes a secret.
#[derive(Clone, Copy, Debug)]
pub struct SecretMethods {
    basic: bool,
    form: bool,
}

impl SecretMethods {
    /// In the form alone.
    pub const FORM: Self = Self {
        basic: false,
        form: true,
    };

    /// As the server's metadata lists them; `client_secret_basic` where they don't (RFC 8414 §2, OpenID
    /// Connect Discovery §3).
    pub fn listed(methods: Option<&[String]>) -> Self {
        let lists = |name: &str| methods.map(|all| all.iter().any(|it| it == name));
        Self {
            basic: lists("client_secret_basic").unwrap_or(true),
            form: lists("client_secret_post").unwrap_or_default(),
        }
    }

    /// Whether this secret goes in the header. Where the encoding would change it, it goes in the form,
    /// which nobody reads otherwise, if that is taken.
    pub fn uses_basic(self, client_id: &str, secret: &str) -> bool {
        self.basic && (is_safe_as_basic(client_id, secret) || !self.form)
    }
}

/// Whether the encoding changes nothing: some servers don't undo it (glewlwyd is one).
fn is_safe_as_basic(client_id: &str, secret: &str) -> bool {
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

    #[test]
    fn a_secret_goes_in_the_header_unless_that_is_not_taken_or_would_change_it() {
        let listed = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            SecretMethods::listed(Some(&names))
        };
        let both = listed(&["client_secret_post", "client_secret_basic"]);
        let basic = listed(&["client_secret_basic"]);
        let form = listed(&["client_secret_post", "none"]);
        for (methods, plain, changed) in [
            (SecretMethods::listed(None), true, true),
            (basic, true, true),
            (both, true, false),
            (form, false, false),
            (SecretMethods::FORM, false, false),
        ] {
            assert_eq!(methods.uses_basic("client", "secret"), plain, "{methods:?}");
            assert_eq!(
                methods.uses_basic("client", "se/cret"),
                changed,
                "{methods:?}"
            );
        }
    }
}
