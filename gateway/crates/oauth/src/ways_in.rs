//! By which ways a person may come in: with a password or a passkey of this gateway's own, or through an
//! identity provider.
//!
//! Not: what a provider said of a person (`provider::membership`), and whether they have proved anything.

use crate::passkey::site::Passkeys;
use crate::provider::providers::Providers;
use crate::server::{AuthorizationServer, Settings};
use gateway_store::User;

/// The ways in, as things are configured.
#[derive(Clone, Copy, Debug)]
pub struct WaysIn<'a> {
    /// Who may use a password, among all else that the operator decided.
    pub(crate) settings: &'a Settings,
    /// Passkeys, where they work.
    pub(crate) passkeys: &'a Passkeys,
    /// The identity providers.
    pub(crate) providers: &'a Providers,
}

impl AuthorizationServer {
    /// By which ways people may come in here.
    pub const fn ways_in(&self) -> WaysIn<'_> {
        WaysIn {
            settings: &self.settings,
            passkeys: &self.passkeys,
            providers: &self.providers,
        }
    }
}

impl WaysIn<'_> {
    /// Whether a person is this gateway's own, by a password or a passkey, and so needs no identity
    /// provider.
    pub(crate) fn is_local(&self, user: &User) -> bool {
        self.settings.takes_password_of(user) || self.passkeys.lets_in(user)
    }

    /// Whether a person comes through identity providers alone, which then decide whether they may: a way
    /// in of this gateway's own would outlast their word. One that is configured no more has no word.
    pub(crate) fn is_of_provider(&self, user: &User) -> bool {
        let mut accounts = user.identities.iter();
        let is_decided = accounts.any(|account| self.providers.of_account(account).is_some());
        is_decided && !self.is_local(user)
    }
}
