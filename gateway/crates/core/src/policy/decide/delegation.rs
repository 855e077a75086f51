//! What a translation may say to a backend beyond the one exchange that a permit is for.

use mcp_protocol::calls::Call;
use mcp_protocol::{Kind, Message};

use super::Permit;
use crate::policy::AccessToken;

/// What the gateway says of its own accord to a backend whose revision is not the client's: the handshake,
/// the end of a call that nobody waits for, and what it asks to say a client's words in another revision.
/// None of these runs a tool or reads anything of a person's.
const OWN_METHODS: &[&str] = &[
    "initialize",
    "notifications/initialized",
    "notifications/cancelled",
    "server/discover",
    "subscriptions/listen",
    "tools/list",
];

/// What a client says in 2026-07-28 as a part of another request: the level of log messages that it
/// wants, and the resources that it wants to hear about. In older revisions each is a request, and that
/// is what is judged.
const PARTS: &[&str] = &["logging/setLevel", "resources/subscribe"];

/// The right to speak to one backend for a client in another revision than its own. It comes of a
/// [`Permit`], which it consumes, and of nothing else; the translation holds it no longer than the
/// lifetime of the token.
#[derive(Debug)]
pub struct Delegation {
    token: AccessToken,
    /// The methods of what was permitted.
    methods: Vec<String>,
}

impl Permit {
    /// Gives up the right to one exchange for that to say the same in another revision.
    pub fn delegate(self) -> Delegation {
        Delegation {
            methods: self.calls.into_iter().map(|call| call.method).collect(),
            token: self.token,
        }
    }
}

impl Delegation {
    /// On whose behalf.
    pub const fn token(&self) -> &AccessToken {
        &self.token
    }

    /// Whether this message may be sent: what was permitted, an answer, or a word of the gateway's own.
    pub fn covers(&self, message: &Message) -> bool {
        let method = message.method();
        message.kind() == Kind::Response
            || OWN_METHODS.contains(&method)
            || self.methods.iter().any(|permitted| permitted == method)
    }

    /// What this message asks for, where a client has said it as a part of another request: it is the
    /// policy's to decide, like that request.
    pub fn part(message: &Message) -> Option<Call> {
        let method = message.method();
        let is_part = message.kind() == Kind::Request && PARTS.contains(&method);
        is_part.then(|| Call {
            name: message.params().text("uri"),
            ..Call::named(method)
        })
    }

    /// Whether this message may be sent after the token's lifetime: it takes back what was said before.
    pub fn takes_back(message: &Message) -> bool {
        message.method() == "notifications/cancelled"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_token::Tools;
    use crate::policy::tests;

    #[test]
    fn only_what_was_permitted_and_the_gateways_own_words_are_covered() {
        let methods = vec!["tools/call".to_owned()];
        let delegation = Delegation {
            token: tests::token("mcp", Tools::All),
            methods,
        };
        let message = |text: &str| Message::parse(text).unwrap();
        for covered in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#,
            r#"{"jsonrpc":"2.0","id":"q","result":{}}"#,
        ] {
            assert!(delegation.covers(&message(covered)), "{covered}");
        }
        for other in [
            "resources/read",
            "resources/subscribe",
            "logging/setLevel",
            "prompts/get",
            "completion/complete",
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{other}"}}"#);
            assert!(!delegation.covers(&message(&text)), "{other}");
        }
        let subscribe = r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"file:///a"}}"#;
        let part = Delegation::part(&message(subscribe)).unwrap();
        assert_eq!(part.method, "resources/subscribe");
        assert_eq!(part.name.as_deref(), Some("file:///a"));
        let read =
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#;
        assert_eq!(Delegation::part(&message(read)), None);
    }
}
