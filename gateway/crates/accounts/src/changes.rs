//! What becomes of an account: it is connected, lapses, is removed. Each is durable before it is
//! acknowledged, and known to every replica within a second.

use std::time::Duration;

use http::HeaderValue;
use rand::rngs::OsRng;
use tokio::task::JoinHandle;

use crate::accounts::{AccountBackend, Accounts, Person, bound};
use crate::contents::{Contents, seal};
use crate::oauth::token::Tokens;
use crate::remembered::Known;
use gateway_core::account::AccountId;
use gateway_core::account::renewal::life;
use gateway_core::audit::{Event, Record};
use gateway_core::grants::UserId;
use gateway_core::reason::Reason;
use gateway_store::{Account, KeptAccount, KeyKind, Lapse, Revoked, StoreError, unless_conflict};

/// How long the end of a connection is told to replicas and streams: longer than any of them holds on to a
/// credential or a stream.
const TOLD: Duration = Duration::from_secs(26 * 3600);

/// How often somebody else may come between reading an account and replacing it.
pub(crate) const ATTEMPTS: usize = 8;

/// An account that was just connected.
#[derive(Clone, Debug)]
pub struct Connected {
    /// It.
    pub account: Account,
    /// What the one before was called, if that was another account at the backend: what was allowed of its
    /// tools is compared with those of this one.
    pub instead_of: Option<String>,
}

impl Accounts {
    /// The accounts of a person, those at backends among them that are configured no more.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn of_person(&self, user: &UserId) -> Result<Vec<Account>, StoreError> {
        let accounts = self.records.accounts_of(user, self.now()).await?;
        Ok(accounts.entries)
    }

    /// Why an account is to be connected again, if it is.
    pub fn lapse_of(&self, account: &Account) -> Option<Lapse> {
        if account.lapsed.is_some() {
            return account.lapsed;
        }
        let of = self.of(&account.backend)?;
        let Some(contents) = self.contents(of, account) else {
            return Some(Lapse::Unreadable);
        };
        let is_over = account.expires.is_some_and(|end| end <= self.now());
        (is_over && !contents.is_renewable()).then_some(Lapse::Expired)
    }

    /// The header of a key that nobody has yet, to try it out; `None` for what no header can hold.
    pub fn header_of_key(&self, backend: &str, key: &str) -> Option<HeaderValue> {
        self.settings(backend)?.header.with(key)
    }

    /// Keeps a key that a person has pasted, in place of the account that they had; the connection before
    /// is over then. `None` where there is no such backend.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn connect_key(
        &self,
        backend: &str,
        person: Person<'_>,
        key: &str,
    ) -> Result<Option<Connected>, StoreError> {
        let Some(of) = self.of(backend) else {
            return Ok(None);
        };
        let (credential, name) = (key.to_owned(), of.name().to_owned());
        let contents = Contents {
            credential,
            oauth: None,
        };
        let (id, user_name) = (person.id.clone(), person.name.to_owned());
        let Some(me) = self.me() else { return Ok(None) };
        let connecting = tokio::spawn(async move {
            let of = me.of(&name)?;
            let person = Person {
                id: &id,
                name: &user_name,
            };
            let connected = me.connect_with(of, person, &contents, None, Vec::new());
            Some(connected.await)
        });
        to_its_end(connecting).await?.transpose()
    }

    /// Keeps an account in place of the one before, whose connection is over then.
    pub(crate) async fn connect_with(
        &self,
        of: &AccountBackend,
        person: Person<'_>,
        contents: &Contents,
        tokens: Option<&Tokens>,
        scopes: Vec<String>,
    ) -> Result<Connected, StoreError> {
        let now = self.now();
        let lived = life(now, tokens.and_then(|tokens| tokens.lasts));
        let renewed = lived.filter(|_| contents.is_renewable());
        for _ in 0..ATTEMPTS {
            let before = self.records.account(person.id, of.name(), now).await?;
            let mut account = Account {
                id: AccountId::draw(&mut OsRng),
                user: person.id.clone(),
                user_name: person.name.to_owned(),
                backend: of.name().to_owned(),
                origin: of.backend.origin(),
                connected: now,
                renewed: None,
                expires: lived.map(|life| life.expires),
                renew_at: renewed.map(|life| life.renew_at),
                scopes: scopes.clone(),
                wanted: Vec::new(),
                called: tokens.and_then(|tokens| tokens.called.clone()),
                subject: tokens.and_then(|tokens| tokens.subject.clone()),
                version: 1,
                lapsed: None,
                sealed: String::new(),
            };
            account.sealed = seal(contents, &self.keys, bound(&account), &mut OsRng);
            let kept = self.records.keep_account(before.as_ref(), account, now);
            let Some(kept) = unless_conflict(kept.await)? else {
                continue;
            };
            // Whatever comes next: it is durable, and nobody here goes on with the one before.
            self.learned(of, &kept.account);
            let mut instead_of = None;
            if let Some(before) = before {
                instead_of = another(&before.account, &kept.account);
                self.end(of, &before.account.id).await?;
                self.let_go(of, &before.account, contents);
            }
            return Ok(Connected {
                account: kept.account,
                instead_of,
            });
        }
        Err(StoreError::Conflict(KeyKind::Account))
    }

    /// Notes that an account is to be connected again, and ends its connection. What is known of it then:
    /// where somebody has connected or renewed it meanwhile, that counts.
    pub(crate) async fn lapse(
        &self,
        of: &AccountBackend,
        kept: &KeptAccount,
        why: Lapse,
    ) -> Result<Known, StoreError> {
        let (user, mut kept) = (kept.account.user.clone(), kept.clone());
        for _ in 0..ATTEMPTS {
            let now = self.now();
            if self.mark(&kept, why).await?.is_some() {
                self.end(of, &kept.account.id).await?;
                let known = of.remembered.learn(&user, Known::Lapsed(why));
                self.tell_lapsed(of, &kept.account, why);
                return Ok(known);
            }
            match self.records.account(&user, of.name(), now).await? {
                Some(found) if found.account.goes_on(&kept.account) => kept = found,
                Some(found) => return Ok(self.learned(of, &found.account)),
                None => return Ok(of.remembered.learn(&user, Known::Absent)),
            }
        }
        Err(StoreError::Conflict(KeyKind::Account))
    }

    /// The account as it is read, with why nobody uses it any more; `None` where somebody else has changed it.
    pub(crate) async fn mark(
        &self,
        kept: &KeptAccount,
        why: Lapse,
    ) -> Result<Option<KeptAccount>, StoreError> {
        let account = Account {
            lapsed: Some(why),
            ..kept.account.clone()
        };
        let records = &self.records;
        unless_conflict(records.keep_account(Some(kept), account, self.now()).await)
    }

    fn tell_lapsed(&self, of: &AccountBackend, account: &Account, why: Lapse) {
        log::warn!(
            event = "account_lapsed", reason = Reason::AccountConnectAgain,
            hint = Reason::AccountConnectAgain.remedy(), backend = of.name(),
            user = account.user.as_str();
            "a person's account at a backend is to be connected again: {}", why.words()
        );
        let record = Record {
            detail: Some(format!("to be connected again: {}", why.words())),
            ..Record::refused(Event::Account, Reason::AccountConnectAgain, false)
        };
        self.tell(account, record);
    }

    /// Tells the other side that what was connected before is not used any more, beside what goes on. Where
    /// both come of the same grant there, the server may end both: it is told of the earlier one only where
    /// that is another account.
    fn let_go(&self, of: &AccountBackend, before: &Account, now: &Contents) {
        let Some(contents) = self.contents(of, before) else {
            return;
        };
        let is_same = match (&contents.oauth, &now.oauth) {
            (Some(before), Some(now)) => before.client.id == now.client.id,
            _ => true,
        };
        if is_same {
            return;
        }
        let Some(me) = self.me() else { return };
        let backend = of.name().to_owned();
        tokio::spawn(async move {
            if let (Some(of), Some(oauth)) = (me.of(&backend), &contents.oauth) {
                let _ = me.take_back(of, oauth, &contents.credential).await;
            }
        });
    }

    /// The backend wants more of this person's account than was allowed (403, RFC 6750 §3.1): the account is
    /// to be connected again, and these scopes are asked for then.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn needs_scope(
        &self,
        backend: &str,
        person: Person<'_>,
        scope: Option<&str>,
    ) -> Result<(), StoreError> {
        /// More names than that are not kept of what a backend says.
        const MOST: usize = 20;
        let Some(kept) = self.records.account(person.id, backend, self.now()).await? else {
            return Ok(());
        };
        let mut wanted = kept.account.wanted.clone();
        for name in scope.unwrap_or_default().split_ascii_whitespace() {
            let is_new = !wanted.iter().any(|other| other == name);
            if is_new && wanted.len() < MOST && name.len() <= 200 {
                wanted.push(name.to_owned());
            }
        }
        if wanted == kept.account.wanted {
            return Ok(());
        }
        let account = Account {
            wanted,
            ..kept.account.clone()
        };
        let written = self.records.keep_account(Some(&kept), account, self.now());
        // Somebody has connected or renewed it meanwhile: the next call asks again.
        unless_conflict(written.await).map(drop)
    }

    pub(crate) async fn end(
        &self,
        of: &AccountBackend,
        account: &AccountId,
    ) -> Result<(), StoreError> {
        self.revoke(account).await?;
        of.remembered.end(account);
        Ok(())
    }

    /// Tells every replica that a connection is over.
    pub(crate) async fn revoke(&self, account: &AccountId) -> Result<(), StoreError> {
        let now = self.now();
        let ended = Revoked::Account(account.clone());
        self.records.revoke(&ended, now + TOLD, now).await
    }

    /// Writes down what became of an account beside a call, where nobody waits for an answer.
    pub(crate) fn tell(&self, account: &Account, record: Record) {
        let record = Record {
            user: Some(account.user.as_str().to_owned()),
            backend: Some(account.backend.clone()),
            ..record
        };
        // The state of the log is known and told elsewhere.
        let _ = self.journal.append(&record);
    }
}

/// Waits for what goes on though nobody waits for it.
///
/// # Errors
///
/// Its own are within; here that it was broken off.
pub(crate) async fn to_its_end<T>(task: JoinHandle<T>) -> Result<T, StoreError> {
    let done = task.await;
    done.map_err(|error| StoreError::Away(format!("it was broken off: {error}")))
}

/// What the account before was called, if it is another one than this.
fn another(before: &Account, now: &Account) -> Option<String> {
    // Where nothing is known of one of them, it is none.
    let both = before.subject.as_ref().zip(now.subject.as_ref());
    let is_other = both.is_some_and(|(before, now)| before != now);
    is_other.then(|| before.called.clone().unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use gateway_core::clock::Timestamp;
    use gateway_core::secret::Secret;

    /// Alice's.
    pub(crate) fn account() -> Account {
        Account {
            id: AccountId::new("a_1"),
            user: UserId::new("u_1"),
            user_name: "alice".to_owned(),
            backend: "notes".to_owned(),
            origin: "https://notes.example".to_owned(),
            connected: Timestamp::from_secs(1000),
            renewed: None,
            expires: None,
            renew_at: None,
            scopes: Vec::new(),
            wanted: Vec::new(),
            called: Some("alice@example.com".to_owned()),
            subject: None,
            version: 3,
            lapsed: None,
            sealed: String::new(),
        }
    }

    #[test]
    fn another_account_is_said_where_both_say_who_they_are() {
        let of = |subject: Option<&str>| Account {
            subject: subject.map(|text| Secret::presented(text).hash()),
            ..account()
        };
        let (one, two, unsaid) = (of(Some("1")), of(Some("2")), of(None));
        assert_eq!(another(&one, &one), None);
        assert_eq!(another(&one, &two).as_deref(), Some("alice@example.com"));
        assert_eq!(another(&unsaid, &two), None);
        assert_eq!(another(&one, &unsaid), None);
    }
}
