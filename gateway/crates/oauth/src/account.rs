//! `/account`: a person sees which apps may act in their name and takes that back, approves a tool
//! again that its backend changed, takes off accounts that they log in with, and removes their own accounts
//! at backends.
//!
//! Owns: who may do that, and what each button does. Not: what stands on the cards (`cards`), what a
//! revocation or an amendment is (`oauth::revoke`, `grants::amendment`).

mod approve;
mod cards;
mod elsewhere;
mod form;
mod limits;
mod new_token;
pub(super) mod passkeys;
mod readmit;
mod revoke;
mod tokens;
mod unlink;
mod view;

pub(super) use self::approve::submit as approve;
pub(super) use self::elsewhere::submit as disconnect;
pub(super) use self::readmit::submit as readmit;
pub(super) use self::revoke::submit as revoke;
pub(super) use self::tokens::{
    new as new_token, page as tokens, submit_new as make_token, submit_revoke as revoke_token,
};
pub(super) use self::unlink::submit as unlink;

use self::view::show;
use crate::error_page::Refused;
use crate::pages::Goal;
use crate::server::AuthorizationServer;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{Request, Response};

/// `GET /account`. Whoever is not logged in is asked to, and comes back.
pub(super) async fn page(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let login_form = server.login_form();
    let session = login_form.session(request, Goal::Account, now).await?;
    show(server, request, &session, None).await
}
