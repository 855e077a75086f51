//! What is asked within this process: backends that are offered together have no address. Who asks speaks
//! HTTP as to any backend, into a pipe.
//!
//! Owns: the pipe, and who is told of it. Not: what is answered (`gateway-proxy`).

use std::net::IpAddr;

use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1Session;
use tokio::io::DuplexStream;

use super::backend::Backend;
use super::connection::{Connection, Connections, Failure};
use gateway_core::policy::AccessToken;

/// How much is on its way at most between two ends within this process, in bytes.
const PIPE: usize = 64 * 1024;

/// What answers within this process.
pub(super) type Answering = dyn Fn(LocalRequest) + Send + Sync;

/// A request to backends that are offered together, on its way within this process.
#[derive(Debug)]
pub struct LocalRequest {
    /// The name of all together.
    pub aggregate: String,
    /// In whose name.
    pub caller: OnBehalfOf,
    /// Where it comes from, in HTTP/1.1, and where its answer goes.
    pub stream: DuplexStream,
}

/// On whose behalf backends that are offered together are asked.
#[derive(Clone, Debug)]
pub struct OnBehalfOf {
    /// The token, confirmed for all together.
    pub token: AccessToken,
    /// Where the client is.
    pub peer: Option<IpAddr>,
    /// The request that it comes of.
    pub request_id: String,
    /// The revision that the client speaks, where it says it.
    pub protocol_version: Option<String>,
}

impl Connections {
    /// From now on what is asked of backends that are offered together is answered by this. Once: whoever
    /// says so first answers.
    pub fn answer_within(&self, answer: impl Fn(LocalRequest) + Send + Sync + 'static) {
        let _ = self.within.set(Box::new(answer));
    }

    /// A connection to backends that are offered together.
    pub(super) fn connect_within(
        &self,
        backend: &Backend,
        caller: &OnBehalfOf,
    ) -> Result<Connection, Failure> {
        let unanswered = || Failure::Unreachable("nobody answers for its members".to_owned());
        let within = self.within.get().ok_or_else(unanswered)?;
        let (connection, stream) = Connection::within();
        within(LocalRequest {
            aggregate: backend.mount.name.clone(),
            caller: caller.clone(),
            stream,
        });
        Ok(connection)
    }
}

impl Connection {
    /// A connection within this process, good for one request, and its other end.
    pub fn within() -> (Self, DuplexStream) {
        let (near, far) = tokio::io::duplex(PIPE);
        let session = HttpSession::H1(Http1Session::new(Box::new(near)));
        (Self::unshared(session), far)
    }
}
