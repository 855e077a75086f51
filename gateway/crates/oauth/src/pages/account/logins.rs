//! How a person logs in: the accounts at identity providers, and the forms that add and take off.

use super::super::passkeys::PasskeysLine;

/// How a person logs in, where there are identity providers.
#[derive(Clone, Debug, Default)]
pub struct Logins<'a> {
    /// With passkeys.
    pub passkeys: PasskeysLine,
    /// Whether with a password, too.
    pub has_password: bool,
    /// The accounts at identity providers that are the person's.
    pub accounts: Vec<LinkedAccount<'a>>,
    /// The providers that an account may be added of.
    pub links: Vec<LinkForm<'a>>,
}

impl Logins<'_> {
    pub(super) fn is_shown(&self) -> bool {
        self.passkeys != PasskeysLine::None || !self.accounts.is_empty() || !self.links.is_empty()
    }
}

/// An account at an identity provider.
#[derive(Clone, Debug)]
pub struct LinkedAccount<'a> {
    /// The provider's name for people.
    pub provider: &'a str,
    /// What the person is called there.
    pub name: &'a str,
    /// Whether the person came through it this time.
    pub is_current: bool,
    /// Takes it off; `None`: the person could not log in without it.
    pub unlink: Option<UnlinkForm<'a>>,
}

/// The form that takes an account off.
#[derive(Clone, Debug)]
pub struct UnlinkForm<'a> {
    /// The account's issuer.
    pub issuer: &'a str,
    /// Its subject there.
    pub subject: &'a str,
    /// Proves that the form comes from this page.
    pub seal: String,
}

/// The form that adds an account.
#[derive(Clone, Debug)]
pub struct LinkForm<'a> {
    /// The provider's name in the path.
    pub name: &'a str,
    /// Its name for people.
    pub words: &'a str,
    /// Proves that the form comes from this page.
    pub seal: String,
}
