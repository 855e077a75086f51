//! The stream of a client whose person has no account at the backend yet. The gateway holds it, since the
//! backend can't be asked for one: once an account is there it says that the tools changed, as it has said
//! in the backend's stead that it would, and ends. The client's next one is the backend's own.

use std::sync::Arc;
use std::time::Duration;

use mcp_protocol::to_stateful::{self, Filter};
use mcp_protocol::{Message, Object};
use pingora::protocols::http::ServerSession;
use tokio::time::sleep;

use super::downstream::Downstream;
use super::response_stream::ResponseStream;
use crate::account_doubt::person;
use crate::proxy_error::ProxyError;
use gateway_accounts::Accounts;
use gateway_core::access_token::Claims;

/// How often the account is looked for. Each look may be one into the store.
const LOOK: Duration = Duration::from_secs(2);

/// `asked`: the `subscriptions/listen` of a client without sessions.
pub(super) async fn stream(
    downstream: &Downstream<'_>,
    session: &mut ServerSession,
    asked: Option<Message>,
) -> Result<(), ProxyError> {
    let subscription = asked.as_ref().and_then(Message::id);
    let changes = Object::new().with("listChanged", &true);
    let offered = Object::new().with("tools", &changes);
    let granted = match asked.as_ref().map(Filter::from_message).transpose() {
        Ok(wanted) => wanted.map(|wanted| wanted.granted(&offered)),
        Err(error) => {
            let refusal = Message::error(subscription.as_ref(), &error);
            let status = error.status(false);
            return downstream.respond(session, &refusal, status, None).await;
        }
    };
    let accounts = Arc::clone(&downstream.state.server.accounts);
    let backend = downstream.mounted.backend.mount.name.clone();
    let claims = downstream.token.claims().clone();
    let ended = subscription.as_ref().map(to_stateful::ended);
    let last = ended.clone();
    let responses = ResponseStream::spawn(move |out| async move {
        if let (Some(id), Some(granted)) = (&subscription, &granted) {
            let _ = out.send(to_stateful::acknowledged(id, granted)).await;
        }
        tokio::select! {
            () = connected(&accounts, &backend, &claims) => {}
            () = out.closed() => return,
        }
        let changed = Message::notification("notifications/tools/list_changed", &Object::new());
        if granted.is_none_or(|granted| granted.takes(&changed)) {
            let changed = match &subscription {
                Some(id) => to_stateful::subscribed(changed, id),
                None => changed,
            };
            let _ = out.send(changed).await;
        }
        if let Some(last) = last {
            let _ = out.send(last).await;
        }
    });
    downstream
        .stream(session, responses, None, ended.as_ref())
        .await
}

/// Waits until the person has an account there that can be used.
async fn connected(accounts: &Accounts, backend: &str, claims: &Claims) {
    while accounts.credential(backend, person(claims)).await.is_err() {
        sleep(LOOK).await;
    }
}
