//! What is good for minutes and once, or tells who sits at a browser: a backup must not bring it back.

use super::{accounts, device_codes, provider_logins, rescue_links};
use crate::key::Table;

/// Whether a record is a code, a link or something else that is used once and soon, or a browser's
/// session. One that is restored would be good a second time, or after it was ended.
pub(crate) fn is_of_a_moment(table: Table, name: &str) -> bool {
    match table {
        Table::Code | Table::Session => true,
        Table::Once => [
            device_codes::DEVICE,
            device_codes::USER_CODE,
            provider_logins::LOGIN,
            rescue_links::LINK,
            accounts::BEGUN_LOGIN,
            accounts::CALL_LINK,
            accounts::RENEWAL_TURN,
        ]
        .iter()
        .any(|kind| name.starts_with(kind)),
        Table::Client | Table::User | Table::Grant | Table::Setting => false,
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
            assert!(is_of_a_moment(Table::Once, name), "{name}");
        }
        assert!(is_of_a_moment(Table::Code, "x"));
        for (table, name) in [
            (Table::Once, "assertion/x"),
            (Table::Once, "ended/g_1"),
            (Table::Once, "service:x"),
            (Table::Setting, "rescue/x"),
            (Table::Grant, "g_1"),
        ] {
            assert!(!is_of_a_moment(table, name), "{name}");
        }
    }
}
