//! JSON-RPC errors, and what MCP means by their codes.

use crate::object::Object;
use crate::revision::STATELESS;

/// Codes of JSON-RPC 2.0 §5.1 and of MCP (2026-07-28, Base Protocol, Error Codes).
pub mod code {
    /// The text is no JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// The JSON is no request that can be served.
    pub const INVALID_REQUEST: i64 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters are not those of the method.
    pub const INVALID_PARAMS: i64 = -32602;
    /// It went wrong inside.
    pub const INTERNAL: i64 = -32603;
    /// Headers and body say different things, or a header is missing.
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The request needs a capability that the client has not declared.
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// The server does not know the protocol version.
    pub const UNSUPPORTED_VERSION: i64 = -32022;
    /// Up to 2025-11-25: no such resource. Never sent in 2026-07-28.
    pub const RESOURCE_NOT_FOUND: i64 = -32002;
    /// 2025-11-25 only: a person must open a URL first. Never sent in 2026-07-28.
    pub const URL_ELICITATION: i64 = -32042;
}

/// The `error` member of a response.
#[derive(Clone, Debug)]
pub struct RpcError(Object);

impl From<Object> for RpcError {
    fn from(object: Object) -> Self {
        Self(object)
    }
}

impl RpcError {
    /// An error of this code.
    pub fn new(code: i64, message: &str) -> Self {
        Self(Object::new().with("code", &code).with("message", message))
    }

    /// The same error with `data`.
    #[must_use]
    pub fn with_data(self, data: &Object) -> Self {
        Self(self.0.with("data", data))
    }

    /// The protocol version `requested` is not spoken here (2026-07-28, Versioning).
    pub fn unsupported_version(requested: &str) -> Self {
        let data = Object::new()
            .with("supported", &[STATELESS])
            .with("requested", requested);
        Self::new(code::UNSUPPORTED_VERSION, "Unsupported protocol version").with_data(&data)
    }

    /// Its code; 0 where there is none.
    pub fn code(&self) -> i64 {
        self.0.read("code").unwrap_or_default()
    }

    /// Its words; empty where there are none.
    pub fn message(&self) -> String {
        self.0.text("message").unwrap_or_default()
    }

    /// The same error under another code.
    #[must_use]
    pub fn with_code(self, code: i64) -> Self {
        Self(self.0.with("code", &code))
    }

    /// Its `data`, if it is an object.
    pub fn data(&self) -> Option<Object> {
        self.0.object("data")
    }

    /// As it goes into a message.
    pub fn object(&self) -> Object {
        self.0.clone()
    }

    /// The HTTP status that 2026-07-28 demands for it (Streamable HTTP, Protocol Version Header and
    /// Server Validation; `is_envelope` for -32602 because `_meta` lacks a required member).
    pub fn status(&self, is_envelope: bool) -> u16 {
        match self.code() {
            code::METHOD_NOT_FOUND => 404,
            code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION => 400,
            code::INVALID_PARAMS if is_envelope => 400,
            _ => 200,
        }
    }
}
