//! Whose something at a backend is.

use gateway_core::access_token::Claims;
use gateway_core::account::AccountId;
use gateway_core::policy::AccessToken;
use gateway_core::protocol::resource::Mount;

/// Whose something at a backend is: one person's, through one client, at one backend, with one account
/// there, if people call it with their own. Nothing that one has is another's, nor is what belongs to
/// the account that somebody had before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder<'a> {
    pub(super) claims: &'a Claims,
    pub(super) mount: &'a Mount,
    pub(super) account: Option<&'a AccountId>,
}

impl<'a> Holder<'a> {
    /// Whoever presents this token at this backend.
    pub(super) fn new(token: &'a AccessToken, mount: &'a Mount) -> Self {
        Self {
            claims: token.claims(),
            mount,
            account: token.account(),
        }
    }

    /// The account; empty where there is none.
    pub(super) fn account(&self) -> &'a str {
        self.account.map_or("", AccountId::as_str)
    }
}
