//! A client's secret, as the client sends it (RFC 6749 §2.3.1): in a header or in the form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded::byte_serialize;

use crate::protocol::form;
use crate::secret::{Secret, SecretHash};
use crate::text_type::is_alphanumeric_or;

/// The value of `Authorization`: both are encoded as in a form first.
pub fn basic(client_id: &str, secret: &str) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let both = format!("{}:{}", encoded(client_id), encoded(secret));
    format!("Basic {}", STANDARD.encode(both))
}

/// A secret as it came in a header. Clients that keep to the RFC encode it as in a form; curl and the
/// TypeScript SDK send it as it is. Which of the two it was can't be seen, and need not be: whoever sends
/// either knows the secret.
#[derive(Clone, Debug, PartialEq)]
pub struct BasicSecret {
    as_sent: Secret,
    /// `None` where it can't have been encoded.
    decoded: Option<Secret>,
}

impl BasicSecret {
    /// What stands behind the colon.
    pub fn read(as_sent: &str) -> Self {
        Self {
            as_sent: Secret::presented(as_sent),
            decoded: form::decode(as_sent.as_bytes()).map(Secret::presented),
        }
    }

    /// Whether there is none: public clients are sent so by libraries that know no other way to name one
    /// (RFC 6749 §2.3.1 lets it be left out).
    pub fn is_empty(&self) -> bool {
        self.as_sent.reveal().is_empty()
    }

    /// Whether this is the secret that was hashed. Both readings are compared whatever the first gave.
    pub fn is_that_of(&self, hash: &SecretHash) -> bool {
        let decoded = self.decoded.as_ref();
        let is_decoded = decoded.is_some_and(|decoded| hash.matches(decoded));
        is_decoded | hash.matches(&self.as_sent)
    }
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
    fn a_secret_is_taken_from_the_header_encoded_as_in_a_form_or_as_it_is() {
        let secret = "a+b%c/d==";
        let hash = Secret::presented(secret).hash();
        let is_it = |as_sent: &str| BasicSecret::read(as_sent).is_that_of(&hash);
        assert!(is_it("a%2Bb%25c%2Fd%3D%3D"));
        assert!(is_it(secret));
        for other in [
            "a b%c/d==",
            "a%2Bb%25c",
            "a%252Bb%2525c%252Fd%253D%253D",
            "",
        ] {
            assert!(!is_it(other), "{other}");
        }
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
