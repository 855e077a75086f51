//! What keys are for, and by which names a record is known where it stands.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Table;

/// What a key is for. It names a record in errors and logs, where the key itself must not stand: it
/// can be the hash of a secret, or what a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// A registered client.
    Client,
    /// A user.
    User,
    /// A grant.
    Grant,
    /// An authorization code.
    Code,
    /// A browser session.
    Session,
    /// What a form was answered with first.
    FormAnswer,
    /// A client assertion that was used.
    UsedAssertion,
    /// A grant that was ended and has no record.
    EndedGrant,
    /// An address, account or browser that has to wait before the next login.
    LoginLock,
    /// A login that was begun at an identity provider.
    ProviderLogin,
    /// A link by which a person sets themselves up.
    RescueLink,
    /// A request of an app on another machine.
    Device,
    /// The way to it from the code that a person types.
    UserCode,
    /// The grant that gives a service its tokens.
    ServiceGrant,
    /// The setup code.
    Setup,
    /// Whose an account at an identity provider is.
    Identity,
    /// Whose a passkey is.
    Passkey,
    /// The public half of a signing key.
    SigningKey,
    /// When a signing key was first seen.
    SigningKeySeen,
    /// When a grant was used last.
    LastUse,
    /// Where a grant was used from.
    LastAddress,
    /// What a user allowed a client last.
    Allowed,
    /// The tools of a grant before it was amended.
    EarlierTools,
    /// The account at an ACME server.
    AcmeAccount,
    /// A certificate that was ordered, with its key.
    Certificate,
    /// Orders of certificates that failed.
    FailedOrders,
    /// Whose order a certificate is.
    OrderLease,
    /// The answer to a challenge of an ACME server.
    AcmeChallenge,
    /// Since when indexes are kept, and when they were last compared with the tables.
    IndexMark,
    /// Whose turn it is to compare them.
    IndexWalk,
    /// A person's account at a backend.
    Account,
    /// Whose turn it is to renew one.
    AccountRenewal,
    /// A connection to one that was begun.
    AccountLogin,
    /// The link of a call to connect one.
    AccountLink,
    /// What tells a key that seals accounts from others.
    AccountKey,
    /// What the gateway is registered as at a backend's authorization server.
    AccountClient,
    /// Whose turn it is to remove what has expired.
    Sweep,
    /// What a replica answered another one.
    PeerAnswer,
}

/// Every kind, in the order of the enumeration: where its keys stand, what it is called in errors and logs, and
/// what its names begin with among the others of their table. [`super::Key`] holds every name against that.
#[rustfmt::skip]
const KINDS: [(KeyKind, Table, &str, &[&str]); 38] = {
    use KeyKind as K;
    [
        (K::Client, Table::Client, "client", &[""]),
        (K::User, Table::User, "user", &[""]),
        (K::Grant, Table::Grant, "grant", &[""]),
        (K::Code, Table::Code, "authorization code", &[""]),
        (K::Session, Table::Session, "session", &[""]),
        (K::FormAnswer, Table::Once, "form answer", &["consent:", "account:", "admin:", "login:"]),
        (K::UsedAssertion, Table::Once, "used assertion", &["assertion:", "logout:", "id_jag:", "renewal:"]),
        (K::EndedGrant, Table::Once, "ended grant", &["ended/"]),
        (K::LoginLock, Table::Once, "login lock", &["login:address:", "login:account:", "login:device:", "user-code:"]),
        (K::ProviderLogin, Table::Once, "login at a provider", &["provider/"]),
        (K::RescueLink, Table::Once, "rescue link", &["rescue/"]),
        (K::Device, Table::Once, "device authorization", &["device:"]),
        (K::UserCode, Table::Once, "user code", &["user_code:"]),
        (K::ServiceGrant, Table::Once, "service's grant", &["service:"]),
        (K::Setup, Table::Setting, "setup code", &["setup"]),
        (K::Identity, Table::Setting, "account at a provider", &["identity/"]),
        (K::Passkey, Table::Setting, "passkey", &["passkey/"]),
        (K::SigningKey, Table::Setting, "signing key", &["signing_key:"]),
        (K::SigningKeySeen, Table::Setting, "first sight of a signing key", &["signing_key_seen:"]),
        (K::LastUse, Table::Setting, "last use", &["last_use:"]),
        (K::LastAddress, Table::Setting, "last address", &["last_from:"]),
        (K::Allowed, Table::Setting, "allowed client", &["allowed:"]),
        (K::EarlierTools, Table::Setting, "earlier tools", &["tools:"]),
        (K::AcmeAccount, Table::Setting, "account at an ACME server", &["acme_account:"]),
        (K::Certificate, Table::Setting, "certificate", &["certificate:"]),
        (K::FailedOrders, Table::Setting, "failed orders of a certificate", &["failed_orders:"]),
        (K::OrderLease, Table::Once, "order of a certificate", &["order_lease:"]),
        (K::AcmeChallenge, Table::Once, "answer to an ACME server", &["acme_challenge:"]),
        (K::IndexMark, Table::Setting, "mark of the indexes", &["indexes"]),
        (K::IndexWalk, Table::Once, "walk of the indexes", &["index_walk"]),
        (K::Account, Table::Setting, "account at a backend", &["account/"]),
        (K::AccountRenewal, Table::Once, "renewal of an account", &["account-renewal/"]),
        (K::AccountLogin, Table::Once, "connection to an account", &["account-login/"]),
        (K::AccountLink, Table::Once, "link to connect an account", &["account-link/"]),
        (K::AccountKey, Table::Setting, "key of accounts", &["account_key:"]),
        (K::AccountClient, Table::Setting, "client at a backend's authorization server", &["account_client:"]),
        (K::Sweep, Table::Once, "turn to sweep", &["sweep"]),
        (K::PeerAnswer, Table::Once, "answer of a replica", &["peer-answer:"]),
    ]
};

// A kind without a row, or one in the wrong place, does not compile.
const _: () = {
    let mut at = 0;
    while at < KINDS.len() {
        assert!(KINDS[at].0 as usize == at);
        at += 1;
    }
    assert!(KeyKind::PeerAnswer as usize + 1 == KINDS.len());
};

impl KeyKind {
    /// Where keys of this kind stand.
    pub const fn table(self) -> Table {
        KINDS[self as usize].1
    }

    /// The kind of a record in this table under this name: the one whose beginning says most of it.
    pub(crate) fn of(table: Table, name: &str) -> Option<Self> {
        let of_table = KINDS.iter().filter(|(_, of, ..)| *of == table);
        let fit = of_table.filter_map(|(kind, _, _, beginnings)| {
            let fit = beginnings.iter().filter(|it| name.starts_with(**it));
            Some((fit.map(|beginning| beginning.len()).max()?, *kind))
        });
        fit.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KINDS[*self as usize].2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_is_forgotten() {
        // What serde knows of them, which is all.
        let error = serde_json::from_str::<KeyKind>("\"?\"").unwrap_err();
        let all: Vec<String> = KINDS
            .iter()
            .map(|(kind, ..)| serde_json::to_string(kind).unwrap())
            .map(|name| format!("`{}`", name.trim_matches('"')))
            .collect();
        let error = error.to_string();
        let (_, known) = error.split_once("expected one of ").unwrap();
        let known = known.split(" at line").next().unwrap();
        assert_eq!(known, all.join(", "));
    }

    #[test]
    fn each_kind_is_known_by_its_names() {
        for (at, (kind, table, _, beginnings)) in KINDS.into_iter().enumerate() {
            assert_eq!((kind as usize, kind.table()), (at, table), "{kind}");
            for beginning in beginnings {
                let name = format!("{beginning}x");
                assert_eq!(KeyKind::of(table, &name), Some(kind), "{name}");
            }
        }
        assert_eq!(KeyKind::of(Table::Once, "of a later version"), None);
    }
}
