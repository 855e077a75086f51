//! Requests for a backend that people call with their own account there, where there is none.

use http::Method;

use super::ConfirmedRequest;
use crate::account_doubt;
use crate::account_refusal::{AccountRefusal, Asked, CONNECT_TOOL, Why};
use crate::destination::GatewayOwned;
use crate::holder::Holder;
use crate::rejection::Rejection;
use crate::request::RequestHead;
use crate::state::ProxyState;
use gateway_accounts::AccountError;
use mcp_protocol::calls::Call;

/// Whether the client opens addresses for its person, and can be asked to. A person who has just said to
/// connect an account is waited for, if that was not done yet; one who has said not to is not asked again.
pub(super) fn opens_urls(
    head: RequestHead<'_>,
    confirmed: &mut ConfirmedRequest,
) -> Result<bool, Rejection> {
    let said = account_doubt::take_answer(&mut confirmed.request);
    let is_missing = |error: &AccountError| error.is_for_person();
    if said == Some(true) && confirmed.may_wait && confirmed.account.as_ref().is_err_and(is_missing)
    {
        return Err(Rejection::AccountAwaited);
    }
    let may_be_asked = said != Some(false);
    Ok(may_be_asked && account_doubt::opens_urls(&confirmed.request, head.headers))
}

/// The refusal of a request that can't be made with its person's own account at the backend.
pub(super) async fn without_account(
    state: &ProxyState,
    confirmed: &ConfirmedRequest,
    error: &AccountError,
    (calls, opens_urls): (Vec<Call>, bool),
) -> Rejection {
    let (mounted, claims) = (&confirmed.route.mounted, confirmed.token.claims());
    let holder = Holder::new(&confirmed.token, &mounted.backend.mount);
    let asked = (calls, opens_urls);
    let asked = Asked::new(&state.sessions, &confirmed.request, holder, asked);
    account_doubt::refuse(state, mounted, claims, Why::Account(error.clone()), asked).await
}

/// What is answered to a call of the tool that stands for all others while there is no account, once there
/// is one.
pub(super) fn connected(
    state: &ProxyState,
    confirmed: &ConfirmedRequest,
    calls: &[Call],
) -> Option<Rejection> {
    let is_connected = matches!(confirmed.account, Ok(Some(_)));
    let [call] = calls else { return None };
    if !is_connected || call.tool() != Some(CONNECT_TOOL) {
        return None;
    }
    let holder = Holder::new(&confirmed.token, &confirmed.route.mounted.backend.mount);
    let asked = (calls.to_vec(), false);
    let asked = Asked::new(&state.sessions, &confirmed.request, holder, asked);
    Some(Rejection::Account(Box::new(AccountRefusal::new(
        Why::Connected,
        asked,
    ))))
}

impl ConfirmedRequest {
    /// Whether it is a stream that the gateway itself holds until there is an account.
    pub(super) fn is_held(&self, calls: &[Call]) -> bool {
        self.destination.own == Some(GatewayOwned::Unconnected)
            && match calls {
                [] => self.request.method == Method::GET,
                [call] => call.listens() && call.id.is_some(),
                _ => false,
            }
    }

    /// Waits for as long as a person may take to connect an account.
    pub(crate) async fn account_connected(&self, state: &ProxyState) {
        let (mounted, claims) = (&self.route.mounted, self.token.claims());
        account_doubt::wait_for_account(state, mounted, claims).await;
    }

    /// The same request, whose person was waited for.
    pub(crate) fn without_waiting(self) -> Self {
        Self {
            may_wait: false,
            ..self
        }
    }

    /// Whether it goes to no backend, for want of its person's account there.
    pub(crate) const fn is_without_account(&self) -> bool {
        self.account.is_err()
    }
}
