//! What is written into the id of a session of the gateway's own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mcp_protocol::Object;
use mcp_protocol::jsonrpc::Body;
use mcp_protocol::to_stateless::ClientInitialize;
use rand::rngs::OsRng;

use crate::request::McpRequest;
use gateway_core::secret;

/// A session id has room for this much: proxies on the way take 8 KiB of headers at least, and an
/// access token is among them.
pub(super) const LONGEST: usize = 3 * 1024;

/// What is written into the id of a session of the gateway's own.
#[derive(Clone, Debug)]
pub(super) struct SessionState {
    pub(super) nonce: String,
    /// What was agreed on with a stateless backend, and what of its capabilities matters later;
    /// absent for a session that the gateway holds.
    pub(super) agreed: Option<(ClientInitialize, Object)>,
}

impl SessionState {
    /// That of a session which begins.
    pub(super) fn new(agreed: Option<(ClientInitialize, Object)>) -> Self {
        Self {
            nonce: secret::identifier("", &mut OsRng),
            agreed,
        }
    }

    pub(super) fn text(&self) -> String {
        let mut object = Object::new().with("n", &self.nonce);
        if let Some((hello, capabilities)) = &self.agreed {
            object.set("h", &hello.object());
            object.set("s", capabilities);
        }
        URL_SAFE_NO_PAD.encode(object.to_string())
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let object = Object::parse(std::str::from_utf8(&bytes).ok()?)?;
        let agreed = object
            .object("h")
            .and_then(|hello| Some((ClientInitialize::read(&hello)?, object.object("s")?)));
        Some(Self {
            nonce: object.text("n")?,
            agreed,
        })
    }
}

/// What is written into the id of a session that begins with this request; `None` where none does, or
/// where it has no room for what the client can do.
pub(crate) fn waiting_session(request: &McpRequest) -> Option<String> {
    let Body::One(message) = &request.body.as_ref()?.messages else {
        return None;
    };
    if message.method() != "initialize" || request.is_stateless {
        return None;
    }
    let hello = ClientInitialize::from_message(message);
    let written = SessionState::new(Some((hello, Object::new())));
    Some(written.text()).filter(|text| text.len() <= LONGEST)
}
