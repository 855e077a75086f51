//! What a restore does with each kind of record. What is good for minutes and once, or tells who sits at a
//! browser, is not brought back; what must happen once at most is not forgotten.

use crate::key::{KeyKind, Table};

/// What a restore does with a record of the backup, and with what the store that is replaced has kept since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restoring {
    /// It is as it was at the backup.
    AsThen,
    /// It is not brought back: it would be good a second time, or after it was ended, or it is one process'
    /// turn at something.
    Nothing,
    /// Somebody allowed it, and may have taken it back since.
    Connection,
    /// It goes with connections: where those are as the replaced store has them, so is it.
    WithConnections,
    /// What was kept since is kept, too: it says what happened, and must not happen again.
    Both,
    /// The same for the end of a connection, which can be wanted back.
    End,
}

impl Restoring {
    /// Of a record in this table under this name. What no kind of this version is called is left as it was.
    pub(crate) fn of(table: Table, name: &str) -> Self {
        KeyKind::of(table, name).map_or(Self::AsThen, Self::of_kind)
    }

    const fn of_kind(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Client
            | KeyKind::User
            | KeyKind::ServiceGrant
            | KeyKind::Setup
            | KeyKind::Identity
            | KeyKind::Passkey
            | KeyKind::LastUse
            | KeyKind::LastAddress
            | KeyKind::Allowed
            | KeyKind::AcmeAccount
            | KeyKind::Certificate
            | KeyKind::FailedOrders
            | KeyKind::IndexMark => Self::AsThen,
            KeyKind::Code
            | KeyKind::Session
            | KeyKind::ProviderLogin
            | KeyKind::RescueLink
            | KeyKind::Device
            | KeyKind::UserCode
            | KeyKind::OrderLease
            | KeyKind::AcmeChallenge
            | KeyKind::IndexWalk
            | KeyKind::AccountRenewal
            | KeyKind::AccountLogin
            | KeyKind::AccountLink
            | KeyKind::Sweep
            | KeyKind::PeerAnswer => Self::Nothing,
            KeyKind::Grant | KeyKind::Account => Self::Connection,
            KeyKind::EarlierTools | KeyKind::AccountClient => Self::WithConnections,
            KeyKind::FormAnswer
            | KeyKind::UsedAssertion
            | KeyKind::LoginLock
            | KeyKind::SigningKey
            | KeyKind::SigningKeySeen
            | KeyKind::AccountKey => Self::Both,
            KeyKind::EndedGrant => Self::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_refused_twice_is_kept_and_what_may_be_used_once_is_not() {
        for name in [
            "device:x",
            "user_code:x",
            "provider/x",
            "rescue/x",
            "account-login/x",
            "account-link/x",
            "account-renewal/x",
        ] {
            let restoring = Restoring::of(Table::Once, name);
            assert_eq!(restoring, Restoring::Nothing, "{name}");
        }
        for name in ["assertion:x", "logout:x", "consent:x", "login:device:x"] {
            assert_eq!(Restoring::of(Table::Once, name), Restoring::Both, "{name}");
        }
        for (table, name, restoring) in [
            (Table::Code, "x", Restoring::Nothing),
            (Table::Once, "ended/g_1", Restoring::End),
            (Table::Once, "service:x", Restoring::AsThen),
            (Table::Grant, "g_1", Restoring::Connection),
            (Table::Setting, "account/x/y", Restoring::Connection),
            (
                Table::Setting,
                "account_client:x",
                Restoring::WithConnections,
            ),
            (Table::Setting, "signing_key:1", Restoring::Both),
            (Table::User, "rescue/x", Restoring::AsThen),
        ] {
            assert_eq!(Restoring::of(table, name), restoring, "{name}");
        }
    }
}
