//! What the names of each kind begin with, so that a record is known by where it stands.

use super::{KeyKind, Table};

impl KeyKind {
    /// The kind of a record in this table under this name: the one whose beginning says most of it.
    pub(crate) fn of(table: Table, name: &str) -> Option<Self> {
        let said = |kind: Self| {
            let beginnings = beginnings(kind).iter();
            let fit = beginnings.filter(|beginning| name.starts_with(**beginning));
            fit.map(|beginning| beginning.len()).max()
        };
        let of_table = Self::ALL.into_iter().filter(|kind| kind.table() == table);
        let fit = of_table.filter_map(|kind| Some((said(kind)?, kind)));
        fit.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
    }
}

/// What the names of a kind begin with, among the others of their table. [`super::Key`] holds every
/// name against it.
const fn beginnings(kind: KeyKind) -> &'static [&'static str] {
    match kind {
        KeyKind::Client | KeyKind::User | KeyKind::Grant | KeyKind::Code | KeyKind::Session => {
            &[""]
        }
        KeyKind::FormAnswer => &["consent:", "account:", "admin:", "login:"],
        KeyKind::UsedAssertion => &["assertion:", "logout:", "id_jag:", "renewal:"],
        KeyKind::EndedGrant => &["ended/"],
        KeyKind::LoginLock => &[
            "login:address:",
            "login:account:",
            "login:device:",
            "user-code:",
        ],
        KeyKind::ProviderLogin => &["provider/"],
        KeyKind::RescueLink => &["rescue/"],
        KeyKind::Device => &["device:"],
        KeyKind::UserCode => &["user_code:"],
        KeyKind::ServiceGrant => &["service:"],
        KeyKind::Setup => &["setup"],
        KeyKind::Identity => &["identity/"],
        KeyKind::Passkey => &["passkey/"],
        KeyKind::SigningKey => &["signing_key:"],
        KeyKind::SigningKeySeen => &["signing_key_seen:"],
        KeyKind::LastUse => &["last_use:"],
        KeyKind::LastAddress => &["last_from:"],
        KeyKind::Allowed => &["allowed:"],
        KeyKind::EarlierTools => &["tools:"],
        KeyKind::AcmeAccount => &["acme_account:"],
        KeyKind::Certificate => &["certificate:"],
        KeyKind::FailedOrders => &["failed_orders:"],
        KeyKind::OrderLease => &["order_lease:"],
        KeyKind::AcmeChallenge => &["acme_challenge:"],
        KeyKind::IndexMark => &["indexes"],
        KeyKind::IndexWalk => &["index_walk"],
        KeyKind::Account => &["account/"],
        KeyKind::AccountRenewal => &["account-renewal/"],
        KeyKind::AccountLogin => &["account-login/"],
        KeyKind::AccountLink => &["account-link/"],
        KeyKind::AccountKey => &["account_key:"],
        KeyKind::AccountClient => &["account_client:"],
        KeyKind::Sweep => &["sweep"],
        KeyKind::PeerAnswer => &["peer-answer:"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_is_forgotten() {
        // What serde knows of them, which is all.
        let error = serde_json::from_str::<KeyKind>("\"?\"").unwrap_err();
        let all: Vec<String> = KeyKind::ALL
            .iter()
            .map(|kind| serde_json::to_string(kind).unwrap())
            .map(|name| format!("`{}`", name.trim_matches('"')))
            .collect();
        let error = error.to_string();
        let (_, known) = error.split_once("expected one of ").unwrap();
        let known = known.split(" at line").next().unwrap();
        assert_eq!(known, all.join(", "));
    }

    #[test]
    fn each_kind_is_known_by_its_names() {
        for kind in KeyKind::ALL {
            for beginning in beginnings(kind) {
                let name = format!("{beginning}x");
                assert_eq!(KeyKind::of(kind.table(), &name), Some(kind), "{name}");
            }
        }
        assert_eq!(KeyKind::of(Table::Once, "of a later version"), None);
    }
}
