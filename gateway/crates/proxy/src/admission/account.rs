//! Requests for a backend that people call with their own account there, where there is none.

use super::ConfirmedRequest;
use crate::account_doubt;
use crate::account_refusal::{Asked, Why};
use crate::compat::session_state;
use crate::holder::Holder;
use crate::rejection::Rejection;
use crate::request::RequestHead;
use crate::state::ProxyState;
use gateway_accounts::AccountError;
use mcp_protocol::calls::Call;

/// Whether the client opens addresses for its person, and can be asked to. A person who has just said to
/// connect an account is waited for, and the request begins anew then; one who has said not to is not asked
/// again.
pub(super) async fn opens_urls(
    state: &ProxyState,
    head: RequestHead<'_>,
    confirmed: &mut ConfirmedRequest,
) -> Result<bool, Rejection> {
    let said = account_doubt::take_answer(&mut confirmed.request);
    let is_missing = |error: &AccountError| error.is_for_person();
    if said == Some(true) && confirmed.account.as_ref().is_err_and(is_missing) {
        let (mounted, claims) = (&confirmed.route.mounted, confirmed.token.claims());
        // Boxed: it happens hardly ever.
        let waiting = Box::pin(account_doubt::wait_for_account(state, mounted, claims));
        if waiting.await.is_some() {
            return Err(Rejection::AccountConnected);
        }
    }
    let may_be_asked = said != Some(false);
    Ok(may_be_asked && account_doubt::opens_urls(&confirmed.request, head.headers))
}

/// The refusal of a request that can't be made with its person's own account at the backend.
pub(super) async fn without_account(
    state: &ProxyState,
    head: RequestHead<'_>,
    confirmed: &ConfirmedRequest,
    error: &AccountError,
    (calls, opens_urls): (Vec<Call>, bool),
) -> Rejection {
    let (mounted, claims) = (&confirmed.route.mounted, confirmed.token.claims());
    let holder = Holder::new(&confirmed.token, &mounted.backend.mount);
    let text = session_state::waiting_session(&confirmed.request);
    let session = text.map(|text| state.sessions.bind_waiting(&text, holder, opens_urls));
    let asked = Asked {
        opens_urls,
        session,
        ..Asked::new(mounted, &confirmed.request, head.headers, calls)
    };
    account_doubt::refuse(state, mounted, claims, Why::Account(error.clone()), asked).await
}

impl ConfirmedRequest {
    /// Whether it goes to no backend, for want of its person's account there.
    pub(crate) const fn is_without_account(&self) -> bool {
        self.account.is_err()
    }
}
