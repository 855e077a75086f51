//! Everybody's own accounts at backends: what is known of each, with its credentials sealed by whoever
//! writes it; whose turn it is to renew one; and what is under way to connect one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::{Records, SingleUse};
use super::encoding::{Record, encode, refuse_newer};
use super::hashed::{hashed, hashed_together};
use super::page::{Listed, Page, Readable};
use super::provider_logins::KeptGoal;
use crate::error::{StoreError, unless_conflict};
use crate::key::{Key, KeyKind};
use gateway_core::account::AccountId;
use gateway_core::clock::Timestamp;
use gateway_core::grants::UserId;
use gateway_core::secret::SecretHash;

/// How long a renewal is one replica's who says nothing more of it: longer than one takes.
const RENEWAL: Duration = Duration::from_secs(30);

/// How long a person may take at the backend's authorization server.
const LOGIN: Duration = Duration::from_secs(600);

/// How long the link of a call is good.
const LINK: Duration = Duration::from_secs(900);

/// What the names of accounts begin with, in the table that they share.
const UNDER: &str = "account/";

/// What the names begin with of the turn to renew an account, of a connection that was begun, and of the link
/// of a call.
const RENEWAL_TURN: &str = "account-renewal/";
const BEGUN_LOGIN: &str = "account-login/";
const CALL_LINK: &str = "account-link/";

/// A person's account at a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Names this connection.
    pub id: AccountId,
    /// Whose it is.
    pub user: UserId,
    /// Their login name then.
    pub user_name: String,
    /// The backend's name.
    pub backend: String,
    /// Where the backend was then.
    pub origin: String,
    /// When it was connected.
    pub connected: Timestamp,
    /// When its credential was renewed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<Timestamp>,
    /// When its credential ends, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// From when on its credential is to be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at: Option<Timestamp>,
    /// What it is for, in the words of the backend's authorization server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What the backend has asked for besides since: to be asked for when it is connected again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<String>,
    /// What it is called there, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<String>,
    /// Of what names it there, if that was said: another one is another account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SecretHash>,
    /// Raised with each renewal.
    pub version: u64,
    /// Why it is to be connected again, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapsed: Option<Lapse>,
    /// The credentials, sealed.
    pub sealed: String,
}

/// Why an account is to be connected again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lapse {
    /// The backend's authorization server does not renew it.
    NotRenewed,
    /// It is over, and there is nothing to renew it with.
    Expired,
    /// The backend refused it, and it could not be renewed.
    Refused,
    /// Somebody removes it: it is no account any more, and the record goes next.
    Removed,
    /// It can't be opened: its key is gone, or the backend is elsewhere since.
    Unreadable,
}

impl Lapse {
    /// Why, for pages and the log, to follow a colon.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotRenewed => "its authorization server does not renew it",
            Self::Expired => "it is over, and there is nothing to renew it with",
            Self::Refused => "the backend does not accept it any more",
            Self::Removed => "its removal was begun and has not come to its end",
            Self::Unreadable => {
                "it can't be read here any more: the key that it was sealed with is gone, or the backend has moved"
            }
        }
    }
}

impl Account {
    /// Whether this is the credential that was there `before`, and it is in use: whatever else has changed of
    /// the account since then leaves that as it is.
    pub fn goes_on(&self, before: &Self) -> bool {
        self.id == before.id && self.version == before.version && self.lapsed.is_none()
    }
}

/// An account as it was read, so that what comes of it replaces exactly that.
#[derive(Clone, Debug)]
pub struct KeptAccount {
    /// It.
    pub account: Account,
    seen: Vec<u8>,
}

/// A connection that was begun at a backend's authorization server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLogin {
    /// Whose account it will be.
    pub user: UserId,
    /// The backend's name.
    pub backend: String,
    /// Of the cookie that names the browser it was begun in.
    pub browser: SecretHash,
    /// Where it leads afterwards.
    pub goal: KeptGoal,
    /// What has to be known to go on, sealed.
    pub sealed: String,
}

/// For whom the link of a call is, and what it is to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLink {
    /// The person the call was for.
    pub user: UserId,
    /// The backend's name.
    pub backend: String,
}

impl Record for Account {}
impl Record for AccountLogin {}
impl Record for AccountLink {}

/// What the names of a person's accounts begin with.
fn under(user: &UserId) -> String {
    format!("{UNDER}{}/", hashed(user.as_str()))
}

impl Key {
    /// Of a person's account at a backend.
    fn account(user: &UserId, backend: &str) -> Self {
        let name = format!("{}{}", under(user), hashed(backend));
        Self::new(KeyKind::Account, name)
    }

    fn account_renewal(id: &AccountId) -> Self {
        let name = format!("{RENEWAL_TURN}{id}");
        Self::new(KeyKind::AccountRenewal, name)
    }

    fn account_login(state: &SecretHash) -> Self {
        let name = format!("{BEGUN_LOGIN}{}", state.as_str());
        Self::new(KeyKind::AccountLogin, name)
    }

    fn account_link(link: &SecretHash) -> Self {
        let name = format!("{CALL_LINK}{}", link.as_str());
        Self::new(KeyKind::AccountLink, name)
    }

    fn account_key(id: u32) -> Self {
        Self::new(KeyKind::AccountKey, format!("account_key:{id}"))
    }

    fn account_client(backend: &str, issuer: &str) -> Self {
        let both = hashed_together(backend, issuer);
        Self::new(KeyKind::AccountClient, format!("account_client:{both}"))
    }
}

impl Records {
    /// A person's account at a backend.
    pub async fn account(
        &self,
        user: &UserId,
        backend: &str,
        now: Timestamp,
    ) -> Result<Option<KeptAccount>, StoreError> {
        let found = self.load_seen(&Key::account(user, backend), now).await?;
        Ok(found.map(|(account, seen)| KeptAccount { account, seen }))
    }

    /// All accounts of a person that can be read.
    pub async fn accounts_of(
        &self,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Readable<Account>, StoreError> {
        let theirs = Listed::under(KeyKind::Account, under(user));
        self.readable(&theirs, now, |account: &Account| account.user == *user)
            .await
    }

    /// All accounts that can be read.
    pub async fn accounts(&self, now: Timestamp) -> Result<Readable<Account>, StoreError> {
        let all = Listed::under(KeyKind::Account, UNDER);
        self.readable(&all, now, |_| true).await
    }

    /// Up to `limit` accounts after the key `after`, as an earlier page named it.
    pub async fn accounts_page(
        &self,
        after: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Page<Account>, StoreError> {
        let all = Listed::under(KeyKind::Account, UNDER);
        self.page(&all, after, limit, now, |_| true).await
    }

    /// Keeps an account in place of what was read, or where there was none; [`StoreError::Conflict`] where
    /// somebody else was faster.
    pub async fn keep_account(
        &self,
        before: Option<&KeptAccount>,
        account: Account,
        now: Timestamp,
    ) -> Result<KeptAccount, StoreError> {
        let key = Key::account(&account.user, &account.backend);
        let seen = encode(&account);
        match before {
            Some(before) => {
                refuse_newer::<Account>(key.kind(), &before.seen)?;
                let replaced = self.store.replace(&key, &before.seen, &seen, None, now);
                replaced.await?;
            }
            None => {
                if !self.add(&key, &seen, None, now).await? {
                    return Err(StoreError::Conflict(key.kind()));
                }
            }
        }
        Ok(KeptAccount { account, seen })
    }

    /// Forgets an account as it was read; [`StoreError::Conflict`] where there is another by now, which stays.
    pub async fn remove_account(
        &self,
        kept: &KeptAccount,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = Key::account(&kept.account.user, &kept.account.backend);
        // What has expired is there no more, and is swept.
        let ended = self
            .store
            .replace(&key, &kept.seen, &kept.seen, Some(now), now);
        ended.await
    }

    /// Makes the renewal of an account this caller's for a while; `false` while it is somebody else's.
    /// `holder` is nobody else's name.
    pub async fn take_account_renewal(
        &self,
        id: &AccountId,
        holder: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (key, until) = (Key::account_renewal(id), Some(now + RENEWAL));
        self.add(&key, holder.as_bytes(), until, now).await
    }

    /// Gives it back, so that nobody waits for it.
    pub async fn give_account_renewal_back(
        &self,
        id: &AccountId,
        holder: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = Key::account_renewal(id);
        // Only one that still is the caller's may be taken away.
        let mine = holder.as_bytes();
        let until = Some(now + RENEWAL);
        let held = self.store.replace(&key, mine, mine, until, now).await;
        if unless_conflict(held)?.is_some() {
            self.store.remove(&key).await?;
        }
        Ok(())
    }

    /// Notes a connection that begins, under the hash of its state.
    pub async fn begin_account_login(
        &self,
        state: &SecretHash,
        login: &AccountLogin,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.keep(&Key::account_login(state), login, now + LOGIN)
            .await
    }

    /// Takes the connection of a state.
    pub async fn take_account_login(
        &self,
        state: &SecretHash,
        now: Timestamp,
    ) -> Result<SingleUse<AccountLogin>, StoreError> {
        self.take(&Key::account_login(state), now).await
    }

    /// Keeps the link of a call for a quarter of an hour, under the hash of what is in it.
    pub async fn put_account_link(
        &self,
        link: &SecretHash,
        of: &AccountLink,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.keep(&Key::account_link(link), of, now + LINK).await
    }

    /// For whom a link is.
    pub async fn account_link(
        &self,
        link: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<AccountLink>, StoreError> {
        self.load(&Key::account_link(link), now).await
    }

    /// Notes what tells the sealing key of this number from others; `false` if another one is noted.
    pub async fn note_account_key(
        &self,
        id: u32,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (key, value) = (Key::account_key(id), fingerprint.as_bytes());
        self.note(&key, value, now).await
    }

    /// Notes that another sealing key has this number from now on.
    pub async fn replace_account_key(&self, id: u32, fingerprint: &str) -> Result<(), StoreError> {
        let (key, value) = (Key::account_key(id), fingerprint.as_bytes());
        self.store.put(&key, value, None).await
    }

    /// Whether a sealing key of this number is noted.
    pub async fn has_account_key(&self, id: u32, now: Timestamp) -> Result<bool, StoreError> {
        let noted = self.store.get(&Key::account_key(id), now).await?;
        Ok(noted.is_some())
    }

    /// Notes nothing of it any more.
    pub async fn forget_account_key(&self, id: u32) -> Result<(), StoreError> {
        self.store.remove(&Key::account_key(id)).await.map(drop)
    }

    /// What the gateway is registered as at a backend's authorization server, sealed.
    pub async fn account_client(
        &self,
        backend: &str,
        issuer: &str,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let key = Key::account_client(backend, issuer);
        let found = self.store.get(&key, now);
        Ok(found.await?.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Keeps it, until the registration ends.
    pub async fn put_account_client(
        &self,
        backend: &str,
        issuer: &str,
        sealed: &str,
        until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let key = Key::account_client(backend, issuer);
        self.store.put(&key, sealed.as_bytes(), until).await
    }

    /// Forgets it: the authorization server does not know it any more.
    pub async fn remove_account_client(
        &self,
        backend: &str,
        issuer: &str,
    ) -> Result<(), StoreError> {
        let key = Key::account_client(backend, issuer);
        self.store.remove(&key).await.map(drop)
    }
}
