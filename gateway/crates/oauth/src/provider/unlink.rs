//! Taking an account at an identity provider off a person. Never the last way in.

use crate::passkey::{Removed, has_way_in};
use crate::ways_in::WaysIn;
use gateway_core::clock::Timestamp;
use gateway_store::{Identity, Records, StoreError, User};

/// Takes the account of this subject of an issuer off a person. Browser sessions that came through
/// it are over with it (`session`); what the person allowed apps stays.
pub async fn unlink(
    ways: WaysIn<'_>,
    records: &Records,
    user: &User,
    (issuer, subject): (&str, &str),
    now: Timestamp,
) -> Result<Removed, StoreError> {
    if user.identity(issuer, subject).is_none() {
        return Ok(Removed::NotThere);
    }
    // Judged over the record as it is when it is changed: of two presses in two windows one may leave
    // only one way in.
    let change = |present: User| match present.identity(issuer, subject) {
        Some(identity) if has_another_way_in(ways, &present, identity) => {
            present.without_identity(issuer, subject)
        }
        _ => present,
    };
    Ok(match records.change_person(user, now, change).await? {
        None => Removed::NotThere,
        Some(changed) if changed.identity(issuer, subject).is_some() => Removed::LastWayIn,
        Some(changed) => Removed::Done(changed),
    })
}

/// Whether a person could log in without this account, as things are configured.
pub(crate) fn has_another_way_in(ways: WaysIn<'_>, user: &User, account: &Identity) -> bool {
    let left = user.clone();
    let left = left.without_identity(&account.issuer, &account.subject);
    has_way_in(ways, &left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Providers;
    use crate::provider::examples::{ISSUER, NOW, identity, person, provider};
    use crate::server::AuthorizationServer;

    fn server() -> AuthorizationServer {
        AuthorizationServer {
            providers: Providers::new(vec![provider("group:board")]),
            ..crate::tests::server()
        }
    }

    #[tokio::test]
    async fn an_account_is_taken_off_once_and_never_the_last_way_in() {
        let server = server();
        let second = |groups| Identity {
            subject: "second".into(),
            ..identity(groups)
        };
        for (password, second, expected) in [
            ("$argon2id$", None, true),
            ("", None, false),
            // No rule lets that one in.
            ("", Some(second(&["engineering"])), false),
            ("", Some(second(&["board"])), true),
        ] {
            let name = format!("{}{}", password.len(), second.is_some());
            let mut alice = User {
                name: format!("{name}{expected}"),
                ..person(password, &["board"])
            };
            alice.identities.extend(second);
            assert!(server.records.add_user(&alice, NOW).await.unwrap());
            let account = (ISSUER, "s");
            let done = unlink(server.ways_in(), &server.records, &alice, account, NOW)
                .await
                .unwrap();
            assert_eq!(matches!(done, Removed::Done(_)), expected, "{name}");
            assert_eq!(done == Removed::LastWayIn, !expected, "{name}");
            let left = server
                .records
                .user(&alice.name, NOW)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(left.identity(ISSUER, "s").is_none(), expected, "{name}");
            if expected {
                let again = unlink(server.ways_in(), &server.records, &left, account, NOW)
                    .await
                    .unwrap();
                assert_eq!(again, Removed::NotThere);
            }
        }
    }
}
