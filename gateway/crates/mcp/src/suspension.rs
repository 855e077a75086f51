//! Calls that wait for input (2026-07-28, Multi Round-Trip Requests): what makes a retry the same call
//! again, and how long it waits.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::canonical;
use crate::message::Message;

/// How long a person may take to answer what a server asks in the middle of a call, whoever holds the
/// call meanwhile. Then the call is given up, and a retry finds nothing that waits.
pub const INPUT_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// What a retry says beside the parameters of its call: the answers, the state that it brings back, and
/// who sends it.
const BESIDE: &[&str] = &["inputResponses", "requestState", "_meta"];

/// Which call a request makes: its method and all its parameters, however they are spelled. A retry that
/// differs in it is another call, which nobody judged as the one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallIdentity([u8; 32]);

impl CallIdentity {
    /// The call that a request makes, or makes again.
    pub fn from_message(request: &Message) -> Self {
        let mut params = request.params();
        for name in BESIDE {
            params.remove(name);
        }
        let text = params.to_string();
        // What has no canonical form is the same where its letters are.
        let (kind, form) = match canonical::form(&text, 0..text.len()) {
            Ok(form) => (b'c', form),
            Err(_) => (b't', text.into_bytes()),
        };
        let mut parts = Vec::with_capacity(form.len() + 64);
        canonical::part(&mut parts, b'm', request.method().as_bytes());
        canonical::part(&mut parts, kind, &form);
        Self(Sha256::digest(&parts).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(method: &str, params: &str) -> CallIdentity {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        CallIdentity::from_message(&Message::parse(&text).unwrap())
    }

    #[test]
    fn a_retry_is_the_same_call_however_it_is_spelled() {
        let call = identity("tools/call", r#"{"name":"a","arguments":{"n":1,"s":"é"}}"#);
        for retry in [
            r#"{"arguments":{"s":"\u00e9","n":1.0},"name":"a"}"#,
            r#"{"name":"a","arguments":{"n":1,"s":"é"},"requestState":"s","inputResponses":{"q":{}},"_meta":{"x":1}}"#,
        ] {
            assert_eq!(identity("tools/call", retry), call, "{retry}");
        }
    }

    #[test]
    fn any_other_parameter_or_method_makes_another_call() {
        let call = identity("tools/call", r#"{"name":"a","arguments":{"n":1}}"#);
        for other in [
            r#"{"name":"b","arguments":{"n":1}}"#,
            r#"{"name":"a","arguments":{"n":2}}"#,
            r#"{"name":"a","arguments":{"n":"1"}}"#,
            r#"{"name":"a","arguments":{"n":1,"m":null}}"#,
            r#"{"name":"a","arguments":{"n":1},"task":{}}"#,
            r#"{"name":"a"}"#,
            r#"{}"#,
        ] {
            assert_ne!(identity("tools/call", other), call, "{other}");
        }
        assert_ne!(
            identity("prompts/get", r#"{"name":"a","arguments":{"n":1}}"#),
            call
        );
    }

    #[test]
    fn what_has_no_canonical_form_is_compared_by_its_letters() {
        let twice = |n: u8| format!(r#"{{"name":"a","arguments":{{"n":1,"n":{n}}}}}"#);
        assert_eq!(
            identity("tools/call", &twice(2)),
            identity("tools/call", &twice(2))
        );
        assert_ne!(
            identity("tools/call", &twice(2)),
            identity("tools/call", &twice(3))
        );
    }
}
