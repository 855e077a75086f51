//! A backend that doubts the account in whose name it was called: 401 is renewed once and sent once more,
//! since what is refused as unauthorized was not carried out; 403 for want of a scope leads the person to
//! allow more. What the backend says of it goes no further: its challenge would send the client to log in
//! where it has no business.
//!
//! Owns: what an answer means for an account, and the one renewal. Not: the renewal itself
//! (`gateway-accounts`), nor the words for the client (`account_refusal`).

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::{sleep, timeout};

use super::account_refusal::{AccountRefusal, Asked, QUESTION, Why};
use super::admission::Admitted;
use super::compat::session_state;
use super::holder::Holder;
use super::mcp_error::Delivery;
use super::mounted_backend::MountedBackend;
use super::rejection::Rejection;
use super::request::McpRequest;
use super::routes::McpEndpoint;
use super::sessions::{self, Sessions};
use super::state::ProxyState;
use gateway_accounts::{AccountError, Accounts, Person};
use gateway_core::access_token::Claims;
use gateway_core::protocol::challenge;
use gateway_store::Lapse;
use gateway_upstream::Account;
use mcp_protocol::calls::Call;
use mcp_protocol::jsonrpc::Body;
use mcp_protocol::{Message, Object, is_stateful_revision, meta, to_stateful};

/// How long a call waits for the person who connects an account, and how often it is looked for: less than
/// clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(45);
const LOOK: Duration = Duration::from_secs(1);

/// Where a retry has what the person said.
const MEMBER: &str = "inputResponses";

/// What a backend's answer says of the account in whose name it was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AccountDoubt {
    /// It does not take the credential.
    Unauthorized,
    /// It wants a larger scope: this one, if it says which.
    Scope(Option<String>),
}

impl AccountDoubt {
    /// Of the answer of a backend that people call with their own accounts.
    pub(super) fn of(status: u16, headers: &HeaderMap) -> Option<Self> {
        match status {
            401 => Some(Self::Unauthorized),
            403 => {
                let parameters = challenge::bearer(headers)?;
                let error = challenge::parameter(parameters, "error");
                let is_wanting = error.as_deref() == Some("insufficient_scope");
                is_wanting.then(|| Self::Scope(challenge::parameter(parameters, "scope")))
            }
            _ => None,
        }
    }
}

/// In whose name a backend is called, and with what.
pub(super) struct AccountCall<'a> {
    pub(super) accounts: &'a Arc<Accounts>,
    pub(super) backend: &'a str,
    pub(super) claims: &'a Claims,
    pub(super) account: Option<&'a Arc<Account>>,
}

/// Whose token says this.
pub(super) fn person(claims: &Claims) -> Person<'_> {
    Person {
        id: &claims.user,
        name: &claims.user_name,
    }
}

impl AccountCall<'_> {
    /// What becomes of a request that the backend refused in doubt of the account: `Ok` once, where it is
    /// to be sent again with what the account has then. `sent`: what it was sent with.
    pub(super) async fn settle(
        &self,
        doubt: &AccountDoubt,
        sent: Option<&HeaderValue>,
        is_second: bool,
    ) -> Result<(), Why> {
        match (doubt, self.account, sent) {
            (AccountDoubt::Scope(scope), ..) => {
                let (accounts, person) = (self.accounts, person(self.claims));
                let noted = accounts.needs_scope(self.backend, person, scope.as_deref());
                noted.await.map_err(|error| Why::Account(error.into()))?;
                Err(Why::Scope)
            }
            (AccountDoubt::Unauthorized, Some(account), Some(sent)) => {
                let (accounts, person) = (self.accounts, person(self.claims));
                let renewed = accounts.refused(self.backend, person, account, sent);
                renewed.await.map_err(Why::Account)?;
                if is_second {
                    return Err(Why::Account(AccountError::ConnectAgain(Lapse::Refused)));
                }
                Ok(())
            }
            // It was called without an account, as it may be, and wants one for this.
            (AccountDoubt::Unauthorized, ..) => Err(Why::Account(AccountError::NotConnected)),
        }
    }

    /// What the client is told, with the address where its person mends it.
    pub(super) async fn refusal(&self, why: Why, asked: Asked) -> AccountRefusal {
        let is_for_person = match &why {
            Why::Account(error) => error.is_for_person(),
            Why::Scope => true,
            Why::Connected => false,
        };
        // A service of the configuration is nobody who could connect anything.
        if !is_for_person || self.claims.user.is_service() {
            return AccountRefusal::new(why, asked);
        }
        match self.accounts.link(self.backend, person(self.claims)).await {
            Ok(link) => AccountRefusal {
                link: Some((*link).clone()),
                ..AccountRefusal::new(why, asked)
            },
            Err(error) => AccountRefusal::new(Why::Account(error), asked),
        }
    }
}

/// The account with which a person calls a backend; none where it is called without. Known in memory.
pub(super) async fn account_of(
    state: &ProxyState,
    mounted: &MountedBackend,
    claims: &Claims,
) -> Result<Option<Arc<Account>>, AccountError> {
    if mounted.backend.account.is_none() {
        return Ok(None);
    }
    let (backend, person) = (&mounted.backend.mount.name, person(claims));
    // Boxed: requests for other backends need not have room for it.
    let account = Box::pin(state.server.accounts.credential(backend, person)).await;
    if let Ok(Some(account)) = &account {
        mounted.protocols.lend(account);
    }
    account
}

/// A request that can't be made with its person's own account.
pub(super) async fn refuse(
    state: &ProxyState,
    mounted: &MountedBackend,
    claims: &Claims,
    why: Why,
    asked: Asked,
) -> Rejection {
    let call = AccountCall {
        accounts: &state.server.accounts,
        backend: &mounted.backend.mount.name,
        claims,
        account: None,
    };
    Rejection::Account(Box::new(call.refusal(why, asked).await))
}

/// A request whose person's account was disconnected while it was under way.
pub(super) fn ended(asked: Asked) -> Rejection {
    let why = Why::Account(AccountError::NotConnected);
    Rejection::Account(Box::new(AccountRefusal::new(why, asked)))
}

/// What was asked by an admitted request, for the answer where it can't be made with an account after all.
pub(super) fn asked(state: &ProxyState, mounted: &MountedBackend, admitted: &Admitted) -> Asked {
    let calls = admitted.permit.calls().to_vec();
    let holder = Holder::new(admitted.permit.token(), &mounted.backend.mount);
    let asked = (calls, admitted.opens_urls);
    Asked::new(&state.sessions, &admitted.request, holder, asked)
}

impl Asked {
    /// Of a request of `holder` whose body was read. `opens_urls`: its client may be asked to open an
    /// address. Where it begins a session, one begins with the answer, too.
    pub(super) fn new(
        sessions: &Sessions,
        request: &McpRequest,
        holder: Holder<'_>,
        (calls, opens_urls): (Vec<Call>, bool),
    ) -> Self {
        let session = session_state::waiting_session(request);
        Self {
            backend: holder.mount.name.clone(),
            calls,
            is_batch: request.is_batch(),
            is_stateless: request.is_stateless,
            opens_urls,
            revision: single(request)
                .filter(|message| message.method() == "initialize")
                .and_then(|message| message.params().text("protocolVersion"))
                .filter(|revision| is_stateful_revision(revision)),
            session: session.map(|text| sessions.bind_waiting(&text, holder, opens_urls)),
            is_streamable: request.endpoint == McpEndpoint::Mcp,
            delivery: match request.endpoint {
                McpEndpoint::Messages => Delivery::NoStream,
                McpEndpoint::Mcp | McpEndpoint::Sse => Delivery::Response,
            },
        }
    }
}

fn single(request: &McpRequest) -> Option<&Message> {
    match &request.body.as_ref()?.messages {
        Body::One(message) => Some(message),
        Body::Batch(_) => None,
    }
}

/// What the person said to the gateway's own question, which comes back with the same request again
/// (2026-07-28, Multi Round-Trip Requests): whether the address is opened. It is taken out of the request:
/// the backend has asked nothing.
pub(super) fn take_answer(request: &mut McpRequest) -> Option<bool> {
    let body = request.body.as_mut()?;
    let Body::One(message) = &mut body.messages else {
        return None;
    };
    // The gateway's own question brings back no state: this answers one of the backend's.
    if to_stateful::request_state(message).is_some() {
        return None;
    }
    let said = message.params().object(MEMBER)?.object(QUESTION)?;
    message.edit_params(|params| {
        params.edit(MEMBER, |answers| {
            answers.remove(QUESTION);
        });
    });
    body.spell_again();
    Some(said.text("action").as_deref() == Some("accept"))
}

/// Waits for a person who has said to connect an account now: until it is there, can't be told, or time is
/// over.
pub(super) async fn wait_for_account(
    state: &ProxyState,
    mounted: &MountedBackend,
    claims: &Claims,
) {
    let connected = async {
        loop {
            sleep(LOOK).await;
            match account_of(state, mounted, claims).await {
                Err(error) if error.is_for_person() => {}
                Ok(_) | Err(_) => return,
            }
        }
    };
    let _ = timeout(PATIENCE, connected).await;
}

/// Whether a client has declared that it opens addresses for its person (elicitation in the mode `url`):
/// in the request itself, or when its session began, which its name says.
pub(super) fn opens_urls(request: &McpRequest, headers: &HeaderMap) -> bool {
    let declares = |capabilities: Option<Object>| {
        let elicitation = capabilities.and_then(|able| able.object("elicitation"));
        elicitation.is_some_and(|modes| modes.has("url"))
    };
    match single(request) {
        Some(message) if message.method() == "initialize" => {
            declares(message.params().object("capabilities"))
        }
        Some(message) if request.is_stateless => {
            declares(message.meta().object(meta::CLIENT_CAPABILITIES))
        }
        _ => sessions::says_that_urls_are_opened(headers),
    }
}

#[cfg(test)]
mod tests {
    use http::header::WWW_AUTHENTICATE;

    use super::*;
    use crate::request::RequestHead;
    use mcp_protocol::jsonrpc::Keep;

    fn doubt(status: u16, challenges: &[&'static str]) -> Option<AccountDoubt> {
        let mut headers = HeaderMap::new();
        for challenge in challenges {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        AccountDoubt::of(status, &headers)
    }

    #[test]
    fn what_the_person_said_to_the_gateway_is_not_for_the_backend() {
        let read = |answers: &str| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a"{answers}}}}}"#
            );
            let head = RequestHead {
                method: &http::Method::POST,
                headers: &HeaderMap::new(),
                authority: None,
                connection: None,
            };
            let mut request = McpRequest::new(McpEndpoint::Messages, head);
            let bytes = bytes::Bytes::from(text);
            request.read_body(head, bytes, Keep::Nothing).unwrap();
            let said = take_answer(&mut request);
            let left = String::from_utf8(request.bytes().unwrap().to_vec()).unwrap();
            (said, left)
        };
        let ours = r#""gateway_connect_account":{"action":"accept"}"#;
        let (said, left) = read(&format!(r#","inputResponses":{{{ours}}}"#));
        assert_eq!(said, Some(true));
        assert!(
            !left.contains("inputResponses") && left.contains("\"a\""),
            "{left}"
        );
        let (said, left) = read(&format!(r#","inputResponses":{{"q":{{}},{ours}}}"#));
        assert_eq!(said, Some(true));
        assert!(left.contains(r#""inputResponses":{"q":{}}"#), "{left}");
        // With state it is an answer to the backend, which may name its questions as it likes.
        let (said, left) = read(&format!(
            r#","requestState":"s","inputResponses":{{{ours}}}"#
        ));
        assert_eq!(said, None);
        assert!(left.contains(ours), "{left}");
        let (said, left) = read(r#","inputResponses":{"q":{}}"#);
        assert_eq!(said, None);
        assert!(left.contains("inputResponses"), "{left}");
        let declined = ours.replace("accept", "decline");
        assert_eq!(
            read(&format!(r#","inputResponses":{{{declined}}}"#)).0,
            Some(false)
        );
    }

    #[test]
    fn what_an_answer_says_of_an_account() {
        assert_eq!(doubt(401, &[]), Some(AccountDoubt::Unauthorized));
        assert_eq!(doubt(200, &["Bearer"]), None);
        assert_eq!(doubt(403, &[]), None);
        assert_eq!(doubt(403, &["Bearer error=\"invalid_token\""]), None);
        let wanting = |scope: Option<&str>| Some(AccountDoubt::Scope(scope.map(str::to_owned)));
        for (challenge, scope) in [
            (
                "Bearer error=\"insufficient_scope\", scope=\"repo, user:email\"",
                Some("repo, user:email"),
            ),
            (
                "Bearer realm=\"a, b=c\",scope=repo, Error=insufficient_scope",
                Some("repo"),
            ),
            ("Bearer error=insufficient_scope", None),
        ] {
            assert_eq!(doubt(403, &[challenge]), wanting(scope), "{challenge}");
        }
        let second = doubt(
            403,
            &["Basic realm=\"x\"", "Bearer error=\"insufficient_scope\""],
        );
        assert_eq!(second, wanting(None));
    }
}
