//! What a provider said of a person, asked anew with the refresh token that it gave, when an app renews
//! its access: so groups stay what they are there, and nobody has to log in for it.

use super::callback::end_access;
use super::exchange::ProviderClient;
use super::failure::{Failure, is_absence};
use super::membership::{Membership, membership, profile};
use super::openid::{self, ProviderUser, refresh_context, refresh_key};
use super::person;
use super::settings::{OpenId, Protocol, Provider};
use crate::provider::providers::Providers;
use crate::server::AuthorizationServer;
use crate::ways_in::WaysIn;
use gateway_accounts::Accounts;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::login_rules;
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, TagKey};
use gateway_store::{Identity, Records, StoreError, User};

/// Where it stands what holds of people, and what asks their providers anew.
#[derive(Clone, Copy)]
pub struct Memberships<'a> {
    pub(crate) ways: WaysIn<'a>,
    pub(crate) tags: &'a TagKey,
    pub(crate) records: &'a Records,
    pub(crate) accounts: &'a Accounts,
}

impl AuthorizationServer {
    /// What holds of people here.
    pub fn memberships(&self) -> Memberships<'_> {
        Memberships {
            ways: self.ways_in(),
            tags: &self.tags,
            records: &self.records,
            accounts: &self.accounts,
        }
    }
}

impl Memberships<'_> {
    /// What holds of somebody, or why they may not use the gateway any more. Asked at every redemption and
    /// refresh, after what is redeemed was read and before anything is given (`oauth::revoke_all` says why
    /// in this order).
    pub(crate) async fn of(
        self,
        id: &UserId,
        name: &str,
        now: Timestamp,
    ) -> Result<Result<Membership, Reason>, StoreError> {
        let user = self.records.user(name, now).await?;
        let user = user.filter(|user| user.id == *id && user.disabled.is_none());
        match user {
            Some(user) => self.renewed(user, now).await,
            None => Ok(Err(Reason::UserDisabled)),
        }
    }

    /// What holds of a person, renewed where half of its time is over. `Err` with a reason that is a fault
    /// where the provider would have to be asked and can't be.
    async fn renewed(
        self,
        user: User,
        now: Timestamp,
    ) -> Result<Result<Membership, Reason>, StoreError> {
        let mut away = None;
        let client = ProviderClient {
            settings: self.ways.settings,
            tags: self.tags,
            providers: self.ways.providers,
        };
        for identity in &user.identities {
            let Some(renewal) = Renewal::new(self.ways.providers, self.tags, identity, now) else {
                continue;
            };
            if !self.records.renews(identity, now).await? {
                // Somebody is at it, or the provider was away just now.
                away = Some(Reason::ProviderUnreachable);
                continue;
            }
            let (reason, detail) = match renewal.refresh(client, now).await {
                Ok(provider_user) => {
                    renewal.store(self, &user, &provider_user, now).await?;
                    match provider_user.no_user_info {
                        Some(Failure::Because(reason, detail)) => (reason, detail),
                        _ => continue,
                    }
                }
                Err(Failure::Store(error)) => return Err(error),
                Err(Failure::GrantGone(detail)) => {
                    renewal.warn(&user, Reason::ProviderRefused, &detail);
                    renewal.forget_token(self.records, &user, now).await?;
                    continue;
                }
                Err(Failure::Because(reason, detail)) => (reason, detail),
            };
            renewal.warn(&user, reason, &detail);
            if is_absence(reason) {
                away = Some(reason);
            }
        }
        let present = self.records.user(&user.name, now).await?;
        let present = present.filter(|present| present.id == user.id && present.disabled.is_none());
        let Some(present) = present else {
            return Ok(Err(Reason::UserDisabled));
        };
        let membership =
            membership(self.ways, &present, now).map(|membership| capped(membership, &present));
        Ok(membership.map_err(|reason| match (reason, away) {
            (Reason::LoginAgain, Some(away)) => away,
            (reason, _) => reason,
        }))
    }
}

/// A token carries so many groups of providers at most: it travels with every call.
const MOST_IN_TOKEN: usize = 64;

/// Without the groups beyond those, which is said.
fn capped(mut membership: Membership, user: &User) -> Membership {
    let count = membership.groups.len();
    if count > MOST_IN_TOKEN {
        membership.groups.sort_unstable();
        membership.groups.truncate(MOST_IN_TOKEN);
        log::warn!(
            event = "groups_left_out", user = user.id.as_str(), groups = count;
            "a token carries 64 groups of a person at most: name fewer in login.allow and group.from"
        );
    }
    membership
}

/// An account whose provider is to be asked anew.
struct Renewal<'a> {
    provider: &'a Provider,
    open_id: &'a OpenId,
    identity: &'a Identity,
    token: Secret,
}

impl<'a> Renewal<'a> {
    fn new(
        providers: &'a Providers,
        tags: &'a TagKey,
        identity: &'a Identity,
        now: Timestamp,
    ) -> Option<Self> {
        let provider = providers.of_account(identity)?;
        let Protocol::OpenId(open_id) = &provider.protocol else {
            return None;
        };
        if now < identity.confirmed + provider.max_age? / 2 {
            return None;
        }
        let context = refresh_context(&identity.issuer, &identity.subject);
        let key = refresh_key(tags);
        let token = key.decrypt(identity.refresh.as_deref()?, context.as_bytes())?;
        Some(Self {
            provider,
            open_id,
            identity,
            token,
        })
    }

    async fn refresh(
        &self,
        client: ProviderClient<'_>,
        now: Timestamp,
    ) -> Result<ProviderUser, Failure> {
        let (provider, open_id) = (self.provider, self.open_id);
        openid::refresh_user(client, provider, open_id, self.identity, &self.token, now).await
    }

    /// Notes what was said; whom no rule lets in any more is out, and first, so that whatever fails is
    /// done at the next attempt.
    async fn store(
        &self,
        memberships: Memberships<'_>,
        user: &User,
        provider_user: &ProviderUser,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let identity = person::renewed_identity(self.provider, provider_user, self.identity, now);
        if login_rules::judge(&self.provider.allow, &profile(&identity)).is_err() {
            end_access(memberships, self.provider, user, now).await?;
        }
        self.note(memberships.records, user, &identity, now).await
    }

    /// The provider does not take the refresh token any more; what it said holds for its time.
    async fn forget_token(
        &self,
        records: &Records,
        user: &User,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let identity = Identity {
            refresh: None,
            ..self.identity.clone()
        };
        self.note(records, user, &identity, now).await
    }

    /// Notes what came of asking, unless another word of the provider was noted meanwhile.
    async fn note(
        &self,
        records: &Records,
        user: &User,
        renewed: &Identity,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let account = (renewed.issuer.as_str(), renewed.subject.as_str());
        let said = |present: &Identity| noted(self.identity, renewed, present);
        person::confirm(records, user, account, said, now).await?;
        Ok(())
    }

    fn warn(&self, user: &User, reason: Reason, detail: &str) {
        let user = Some(&user.id);
        Failure::log("renewal_failed", self.provider, reason, detail, None, user);
    }
}

/// What stands of an account after a renewal of what was `read`. Asking takes seconds: who logged in, or was
/// refused, in between stands as the provider said then, and only the refresh token that was presented is
/// what came of it.
fn noted(read: &Identity, renewed: &Identity, present: &Identity) -> Identity {
    if present == read {
        return renewed.clone();
    }
    let was_presented = present.refresh == read.refresh;
    let refresh = if was_presented { renewed } else { present };
    Identity {
        refresh: refresh.refresh.clone(),
        ..present.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::examples::{HOUR, NOW, identity, person, provider, provider_user};

    #[tokio::test]
    async fn a_renewal_that_ends_late_leaves_what_the_provider_said_meanwhile() {
        let (server, corp) = (crate::tests::server(), provider("*"));
        let Protocol::OpenId(open_id) = &corp.protocol else {
            panic!("it speaks OpenID Connect");
        };
        let with = |groups: &[&str], refresh: Option<&str>, confirmed| Identity {
            refresh: refresh.map(str::to_owned),
            confirmed,
            ..identity(groups)
        };
        let later = NOW + HOUR / 2;
        let read = with(&["engineering"], Some("presented"), NOW);
        let renewal = Renewal {
            provider: &corp,
            open_id,
            identity: &read,
            token: Secret::presented("token"),
        };
        let mut said = provider_user(None, "alice");
        said.profile.groups = ["engineering".to_owned(), "board".to_owned()].into();
        said.refresh = Some("replaced".to_owned());
        let renewed = with(&["board", "engineering"], Some("replaced"), later);

        let left = with(&[], None, later);
        let came = with(&["board"], Some("another"), later);
        // A login at which the provider gave no refresh token keeps the one that there was.
        let kept = |refresh| with(&["board"], refresh, later);
        for (name, present, after_answer, after_refusal) in [
            (
                "nothing",
                read.clone(),
                renewed,
                with(&["engineering"], None, NOW),
            ),
            ("refused", left.clone(), left.clone(), left),
            ("login", came.clone(), came.clone(), came),
            (
                "kept",
                kept(Some("presented")),
                kept(Some("replaced")),
                kept(None),
            ),
        ] {
            for (is_answered, expected) in [(true, after_answer), (false, after_refusal)] {
                let user = User {
                    name: format!("{name}{is_answered}"),
                    identities: vec![present.clone()],
                    ..person("", &[])
                };
                let records = &server.records;
                assert!(records.add_user(&user, NOW).await.unwrap());
                let done = if is_answered {
                    renewal
                        .store(server.memberships(), &user, &said, later)
                        .await
                } else {
                    renewal.forget_token(records, &user, later).await
                };
                done.unwrap();
                let user = records.user(&user.name, NOW).await.unwrap().unwrap();
                assert_eq!(user.identities, [expected], "{name}, {is_answered}");
            }
        }
    }

    #[test]
    fn a_token_carries_so_many_groups_and_no_more() {
        let of = |count: usize| {
            let groups = (0..count).map(|number| format!("corp:{number:03}"));
            let membership = Membership {
                groups: groups.collect(),
                until: None,
            };
            capped(membership, &person("", &[])).groups
        };
        assert_eq!((of(64).len(), of(65).len()), (64, 64));
        assert_eq!(of(65).last().map(String::as_str), Some("corp:063"));
    }
}
