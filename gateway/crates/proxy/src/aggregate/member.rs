//! Asking one member: a request of its own, which passes admission, exchange and translation of that member
//! as if the client had sent it there, with the token that was confirmed for all together.

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method};
use mcp_protocol::{Kind, Message, standard_headers};
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use tokio::io::DuplexStream;

use super::Asked;
use crate::compat::{LARGEST, Reader};
use crate::context::{PartOf, RequestContext};
use crate::in_flight::Hold;
use crate::mounted_backend::MountedBackend;
use crate::routes::{BackendRoute, McpEndpoint, Target};
use crate::serve::Service;
use gateway_upstream::{Connection, Failure};
use mcp_protocol::media_type;

/// What one member answered.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<HeaderValue>,
    pub(super) reader: Reader,
}

impl Reply {
    /// The response, and what is held for it; what comes before it is passed over.
    pub(super) async fn response(mut self) -> (Result<Message, Failure>, Hold) {
        let response = self.next_response().await;
        let hold = self.reader.take_hold();
        if response.is_ok() {
            self.reader.close().await;
        }
        (response, hold)
    }

    async fn next_response(&mut self) -> Result<Message, Failure> {
        while let Some(message) = self.reader.next().await? {
            if message.kind() == Kind::Response {
                return Ok(message);
            }
        }
        let status = self.status;
        Err(Failure::Broken(format!(
            "status {status} without a response that is MCP"
        )))
    }
}

impl Asked {
    /// Whether the holders of the token left this member.
    pub(super) fn leaves(&self, member: usize) -> bool {
        let name = &self.members().names()[member];
        self.caller.token.leaves_member(self.name(), name)
    }

    /// Asks the member that a request is for, up to the head of its answer.
    pub(super) async fn reach(
        &self,
        member: usize,
        message: &Message,
    ) -> Result<Connection, Failure> {
        self.reach_with(member, message, |_| true).await
    }

    async fn reach_with(
        &self,
        member: usize,
        message: &Message,
        is_passed: impl Fn(&HeaderName) -> bool,
    ) -> Result<Connection, Failure> {
        let unknown = || Failure::Unreachable("there is no such member".to_owned());
        let mounted = self.mounted_member(member).ok_or_else(unknown)?;
        let head = self.head(&mounted, message, is_passed);
        let head = head.map_err(|_| Failure::Broken("a value is no header value".to_owned()))?;
        let (mut connection, far) = Connection::within();
        tokio::spawn(serve(
            Arc::clone(&self.service),
            mounted,
            self.context(member),
            far,
        ));
        connection.send(head, Some(message.text().clone())).await?;
        connection.read_head().await?;
        Ok(connection)
    }

    /// Asks a member what others are asked, too, with a reader for its messages: what a client's own headers
    /// say is for the one server that it is meant for.
    pub(super) async fn ask_among_all(
        &self,
        member: usize,
        message: &Message,
    ) -> Result<Reply, Failure> {
        let mut connection = self.reach_with(member, message, is_for_all).await?;
        let head = connection.read_head().await?;
        let (status, is_events) = (
            head.status.as_u16(),
            media_type::is_event_stream(&head.headers),
        );
        let retry_after = head.headers.get(RETRY_AFTER).cloned();
        let reader = self.reader(connection, is_events);
        Ok(Reply {
            status,
            retry_after,
            reader,
        })
    }

    /// A reader of an answer, on the account of the client.
    pub(super) fn reader(&self, connection: Connection, is_events: bool) -> Reader {
        let state = &self.service.state;
        let grant = self.caller.token.claims().grant.as_str();
        let hold = state.budget.hold(self.caller.peer, grant);
        Reader::new(
            connection,
            &state.connections,
            is_events,
            hold.another(LARGEST),
        )
    }

    pub(super) fn mounted_member(&self, member: usize) -> Option<Arc<MountedBackend>> {
        let name = self.members().names().get(member)?;
        self.service.state.routes.backend(name).cloned()
    }

    /// What is known of the request at that member.
    fn context(&self, member: usize) -> RequestContext {
        let state = &self.service.state;
        let name = &self.members().names()[member];
        let scopes = &state.server.settings.scopes;
        let scopes = scopes.at_member(self.name(), name);
        let token = &self.caller.token;
        let mut context = RequestContext::new(state.draining.enter());
        context.id.clone_from(&self.caller.request_id);
        context
            .protocol_version
            .clone_from(&self.caller.protocol_version);
        context.part_of = Some(Box::new(PartOf {
            token: token.at_member(self.members(), member, scopes),
            is_left: self.leaves(member),
            peer: self.caller.peer,
            path: self.mounted.backend.mount.mcp_path(),
        }));
        context
    }

    /// The head of a request to a member: what the client sent with its own, and what this message says.
    fn head(
        &self,
        mounted: &MountedBackend,
        message: &Message,
        is_passed: impl Fn(&HeaderName) -> bool,
    ) -> pingora::Result<RequestHeader> {
        let path = mounted.backend.mount.mcp_path();
        let mut head = RequestHeader::build_no_case(Method::POST, path.as_bytes(), None)?;
        let said = standard_headers(message);
        let is_said = |name: &HeaderName| said.iter().any(|(own, _)| name == own);
        for (name, value) in &self.headers {
            let is_framing = [
                CONTENT_LENGTH,
                TRANSFER_ENCODING,
                HOST,
                CONTENT_TYPE,
                ACCEPT,
            ]
            .contains(name);
            if !is_framing && !is_said(name) && name != "mcp-name" && is_passed(name) {
                head.append_header(name.clone(), value.clone())?;
            }
        }
        for (name, value) in said {
            head.insert_header(name, value)?;
        }
        head.insert_header(HOST, HeaderValue::from_static("localhost"))?;
        let json = HeaderValue::from_static("application/json");
        head.insert_header(CONTENT_TYPE, json)?;
        let either = HeaderValue::from_static("application/json, text/event-stream");
        head.insert_header(ACCEPT, either)?;
        head.insert_header(CONTENT_LENGTH, HeaderValue::from(message.text().len()))?;
        Ok(head)
    }
}

/// Whether a header of a client is for whoever is asked: of MCP itself, of the trace, and of its language.
fn is_for_all(name: &HeaderName) -> bool {
    const FOR_ALL: [&str; 6] = [
        "accept-language",
        "baggage",
        "origin",
        "traceparent",
        "tracestate",
        "user-agent",
    ];
    let name = name.as_str();
    // Parameters of one tool.
    let is_of_mcp = name.starts_with("mcp-") && !name.starts_with("mcp-param-");
    is_of_mcp || FOR_ALL.contains(&name)
}

/// Answers a request for one member.
async fn serve(
    service: Arc<Service>,
    mounted: Arc<MountedBackend>,
    mut context: RequestContext,
    stream: DuplexStream,
) {
    let mut session = ServerSession::new_http1(Box::new(stream));
    if !matches!(session.read_request().await, Ok(true)) {
        return;
    }
    let head = session.req_header();
    context.trace(
        &service.state.traces,
        &head.method,
        &head.headers,
        head.version,
    );
    let path = mounted.backend.mount.mcp_path();
    let route = BackendRoute {
        mounted: &mounted,
        endpoint: McpEndpoint::Mcp,
        target: Target {
            names_host: true,
            path: &path,
            query: None,
        },
    };
    // What failed has been logged where it failed, and whoever asked finds the pipe closed.
    let _ = service
        .serve_backend(&mut session, &mut context, route)
        .await;
}
