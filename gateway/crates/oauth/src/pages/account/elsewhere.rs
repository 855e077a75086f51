//! A person's own accounts at backends.

use super::super::moment::Moment;
use super::super::text::{LONGEST_NAME, clean};
use gateway_core::clock::Timestamp;

/// A backend that is called with the person's own account there.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// The backend's name.
    pub backend: String,
    /// Whether the backend is still called with people's accounts, so that one may be connected.
    pub is_served: bool,
    /// The account, if one is connected.
    pub account: Option<ElsewhereAccount>,
}

/// An account that is connected.
#[derive(Clone, Debug)]
pub struct ElsewhereAccount {
    /// What it is called there, if that was said.
    pub called: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// What it is for, in the words of the other side.
    pub scopes: Vec<String>,
    /// When it was renewed last.
    pub renewed: Option<Timestamp>,
    /// Why it is to be connected again, if so.
    pub lapsed: Option<&'static str>,
    /// Whether the backend has asked for more than it is for.
    pub is_too_small: bool,
    /// Proves that the form which removes it comes from this page.
    pub seal: String,
}

/// The same for the template.
pub(super) struct ElsewhereLine<'a> {
    pub(super) backend: &'a str,
    pub(super) is_served: bool,
    pub(super) account: Option<ElsewhereAccountLine<'a>>,
}

pub(super) struct ElsewhereAccountLine<'a> {
    pub(super) called: Option<String>,
    pub(super) since: Moment,
    pub(super) scopes: Option<String>,
    pub(super) renewed: Option<Moment>,
    pub(super) lapsed: Option<&'static str>,
    pub(super) is_too_small: bool,
    pub(super) seal: &'a str,
}

impl<'a> ElsewhereLine<'a> {
    pub(super) fn new(elsewhere: &'a Elsewhere, now: Timestamp) -> Self {
        let line = |account: &'a ElsewhereAccount| ElsewhereAccountLine {
            called: account.called.as_deref().map(|it| clean(it, LONGEST_NAME)),
            since: Moment::before(account.since, now),
            scopes: (!account.scopes.is_empty())
                .then(|| clean(&account.scopes.join(" "), LONGEST_NAME * 4)),
            renewed: account.renewed.map(|at| Moment::before(at, now)),
            lapsed: account.lapsed,
            is_too_small: account.is_too_small,
            seal: &account.seal,
        };
        Self {
            backend: &elsewhere.backend,
            is_served: elsewhere.is_served,
            account: elsewhere.account.as_ref().map(line),
        }
    }
}
