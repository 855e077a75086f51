//! The domain's types on the store's promises.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::granted::Choices;
use crate::{Inserted, Revocation, RevocationView, Store, StoreError, Table, Taken};
use gateway_core::access_token::LEEWAY;
use gateway_core::browser_session::BrowserSession;
use gateway_core::client::{Allowed, Client, ClientId};
use gateway_core::clock::Timestamp;
use gateway_core::grants::amendment::Amendment;
use gateway_core::grants::authorization_code::AuthorizationCode;
use gateway_core::grants::{Grant, GrantId, UserId};
use gateway_core::secret::SecretHash;

/// A person who may log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Never changes.
    pub id: UserId,
    /// The login name as its owner writes it.
    pub name: String,
    /// Argon2id, in the PHC string format.
    pub password_hash: String,
    /// When the person was added.
    pub created: Timestamp,
    /// Why the person may not log in, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<Disabled>,
    /// Whether the configuration names this person as the owner.
    #[serde(default)]
    pub configured: bool,
    /// What browser sessions stand for besides the password: with another text they are over.
    #[serde(default)]
    pub sessions: String,
}

/// Why a person may not log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disabled {
    /// The operator said so.
    ByOperator,
    /// The configuration named this person as the owner, and now names somebody else.
    FormerOwner,
}

impl User {
    /// A person who may log in.
    pub fn new(id: UserId, name: &str, password_hash: &str, created: Timestamp) -> Self {
        Self {
            id,
            name: name.to_owned(),
            password_hash: password_hash.to_owned(),
            created,
            disabled: None,
            configured: false,
            sessions: String::new(),
        }
    }

    /// What a browser session of this person stands for.
    pub fn credential(&self) -> String {
        format!("{}{}", self.password_hash, self.sessions)
    }
}

/// What taking an authorization code met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenCode {
    /// This request redeems it.
    Fresh(AuthorizationCode),
    /// It was redeemed before.
    Replayed(AuthorizationCode),
    /// There is no such code.
    Unknown,
}

/// What noting a press of a form met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressed {
    /// Nobody had pressed it.
    First,
    /// It was pressed within the last minute, with the same answer: a double click, or a browser that
    /// sent it again.
    Again,
    /// It was pressed with another answer, or longer ago.
    Before,
}

/// For so long a form that is pressed again with the same answer is answered as the first time.
const DOUBLE: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize, Deserialize)]
struct Press {
    answer: String,
    at: Timestamp,
}

impl Press {
    /// The clocks of replicas differ a little.
    fn is_recent(&self, now: Timestamp) -> bool {
        now < self.at + DOUBLE && self.at <= now + LEEWAY
    }

    fn compared_with(&self, answer: &str, now: Timestamp) -> Pressed {
        match self.answer == answer && self.is_recent(now) {
            true => Pressed::Again,
            false => Pressed::Before,
        }
    }
}

/// A grant as it was read, so that what is decided about it replaces exactly that.
#[derive(Clone, Debug)]
pub struct KeptGrant {
    /// The grant. It may have ended.
    pub grant: Grant,
    seen: Vec<u8>,
}

/// How long a grant with refresh tokens is remembered after its end, so that a late refresh is told
/// that it is late and not that it is unknown.
const REMEMBERED_AFTER_END: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often somebody else may come between reading a person's record and writing it.
const CHANGES: usize = 8;

/// Typed access to the store.
#[derive(Clone, Debug)]
pub struct Records {
    store: Arc<dyn Store>,
    view: Option<Arc<RevocationView>>,
    choices: Arc<Choices>,
}

impl Records {
    /// Records in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            view: None,
            choices: Arc::default(),
        }
    }

    /// The same records; what is revoked through them is known to `view` at once, so that this
    /// replica refuses the next call without waiting for its own reading.
    #[must_use]
    pub fn with_view(self, view: Arc<RevocationView>) -> Self {
        Self {
            view: Some(view),
            ..self
        }
    }

    pub(super) fn choices(&self) -> &Choices {
        &self.choices
    }

    /// The promises themselves.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// A registered client.
    pub async fn client(
        &self,
        id: &ClientId,
        now: Timestamp,
    ) -> Result<Option<Client>, StoreError> {
        self.read(Table::Client, id.as_str(), now).await
    }

    /// Registers a client unless one with its id is there; returns the one that is there now.
    pub async fn register_client(
        &self,
        client: &Client,
        keep_until: Timestamp,
        now: Timestamp,
    ) -> Result<Client, StoreError> {
        let value = encode(client);
        let inserted = self
            .store
            .insert(
                Table::Client,
                client.id.as_str(),
                &value,
                Some(keep_until),
                now,
            )
            .await?;
        match inserted {
            Inserted::New => Ok(client.clone()),
            Inserted::Exists(bytes) => decode(&bytes),
        }
    }

    /// Keeps a client that is in use until a later time.
    pub async fn keep_client(&self, client: &Client, until: Timestamp) -> Result<(), StoreError> {
        self.store
            .put(
                Table::Client,
                client.id.as_str(),
                &encode(client),
                Some(until),
            )
            .await
    }

    /// What a person allowed a client last, if that client can change.
    pub async fn allowed(
        &self,
        user: &UserId,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Option<Allowed>, StoreError> {
        self.read(Table::Setting, &allowed_key(user, client), now)
            .await
    }

    /// Keeps what a person allows a client now.
    pub async fn put_allowed(
        &self,
        user: &UserId,
        client: &ClientId,
        allowed: &Allowed,
        keep_until: Timestamp,
    ) -> Result<(), StoreError> {
        let key = allowed_key(user, client);
        let value = encode(allowed);
        self.store
            .put(Table::Setting, &key, &value, Some(keep_until))
            .await
    }

    /// Keeps the stored record of a client, whatever it says, until a later time. Not there: nothing
    /// is done.
    pub async fn extend_client(
        &self,
        id: &ClientId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = id.as_str();
        if let Some(value) = self.store.get(Table::Client, key, now).await? {
            // Another writer in between has set a later time itself.
            self.store
                .replace(Table::Client, key, &value, &value, Some(until), now)
                .await?;
        }
        Ok(())
    }

    /// A person, by login name in any case.
    pub async fn user(&self, name: &str, now: Timestamp) -> Result<Option<User>, StoreError> {
        self.read(Table::User, &name.to_lowercase(), now).await
    }

    /// Adds a person; `false` if the name is taken.
    pub async fn add_user(&self, user: &User, now: Timestamp) -> Result<bool, StoreError> {
        let key = user.name.to_lowercase();
        let inserted = self
            .store
            .insert(Table::User, &key, &encode(user), None, now)
            .await?;
        Ok(inserted == Inserted::New)
    }

    /// Changes a person's record as it is at that moment. `None` if there is nobody of this name.
    pub async fn change_user(
        &self,
        name: &str,
        now: Timestamp,
        change: impl Fn(User) -> User + Send,
    ) -> Result<Option<User>, StoreError> {
        let key = name.to_lowercase();
        for _ in 0..CHANGES {
            let Some(seen) = self.store.get(Table::User, &key, now).await? else {
                return Ok(None);
            };
            let user = change(decode(&seen)?);
            let value = encode(&user);
            if self
                .store
                .replace(Table::User, &key, &seen, &value, None, now)
                .await?
            {
                return Ok(Some(user));
            }
        }
        Err(StoreError("others kept changing the record".to_owned()))
    }

    /// Whether anybody may log in yet.
    pub async fn has_users(&self, now: Timestamp) -> Result<bool, StoreError> {
        Ok(!self.store.list(Table::User, None, 1, now).await?.is_empty())
    }

    /// Some person, if there is any: what hashing a password costs here.
    pub async fn any_user(&self, now: Timestamp) -> Result<Option<User>, StoreError> {
        let users = self.store.list(Table::User, None, 1, now).await?;
        users.first().map(|(_, bytes)| decode(bytes)).transpose()
    }

    /// Looks at a code without taking it.
    pub async fn code(
        &self,
        hash: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<AuthorizationCode>, StoreError> {
        self.read(Table::Code, hash.as_str(), now).await
    }

    /// Takes a code: exactly one caller ever gets it fresh.
    pub async fn take_code(
        &self,
        hash: &SecretHash,
        now: Timestamp,
    ) -> Result<TakenCode, StoreError> {
        match self.store.take(Table::Code, hash.as_str(), now).await? {
            Taken::Fresh(bytes) => Ok(TakenCode::Fresh(decode(&bytes)?)),
            Taken::Again(bytes) => Ok(TakenCode::Replayed(decode(&bytes)?)),
            Taken::Unknown => Ok(TakenCode::Unknown),
        }
    }

    /// Keeps a new grant until its last token ends. One that is there already is changed by
    /// [`Records::replace_grant`] only: refresh tokens depend on it.
    pub async fn put_grant(&self, grant: &Grant) -> Result<(), StoreError> {
        self.store
            .put(
                Table::Grant,
                grant.id.as_str(),
                &encode(grant),
                Some(remembered_until(grant)),
            )
            .await
    }

    /// A grant that has not ended.
    pub async fn grant(&self, id: &GrantId, now: Timestamp) -> Result<Option<Grant>, StoreError> {
        let grant: Option<Grant> = self.read(Table::Grant, id.as_str(), now).await?;
        Ok(grant.filter(|grant| now < grant.expires))
    }

    /// A grant to be changed, ended or not.
    pub async fn kept_grant(
        &self,
        id: &GrantId,
        now: Timestamp,
    ) -> Result<Option<KeptGrant>, StoreError> {
        let seen = self.store.get(Table::Grant, id.as_str(), now).await?;
        seen.map(|seen| {
            let grant = decode(&seen)?;
            Ok(KeptGrant { grant, seen })
        })
        .transpose()
    }

    /// Sets a grant if it still is what was read. `false` if somebody changed or revoked it since.
    pub async fn replace_grant(
        &self,
        kept: &KeptGrant,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.store
            .replace(
                Table::Grant,
                kept.grant.id.as_str(),
                &kept.seen,
                &encode(grant),
                Some(remembered_until(grant)),
                now,
            )
            .await
    }

    /// Sets a grant and makes its tokens in use follow, on every replica: the amendment is durable
    /// before the grant is replaced, so that a fault in between leaves nothing that can't be mended by
    /// approving once more. `false` as for [`Records::replace_grant`]. `expires` is when nothing needs
    /// the amendment any more, `tokens_end` when the last access token ends that was given before.
    pub async fn amend_grant(
        &self,
        kept: &KeptGrant,
        grant: &Grant,
        amendment: &Amendment,
        [expires, tokens_end]: [Timestamp; 2],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.keep_earlier_tools(&kept.grant, tokens_end).await?;
        let entry = Revocation {
            id: amendment.to_entry(),
            expires,
        };
        self.store.revoke(&entry, now).await?;
        if let Some(view) = &self.view {
            view.add(&[entry]);
        }
        self.replace_grant(kept, grant, now).await
    }

    /// When a grant was used last, to about ten minutes.
    pub async fn last_use(
        &self,
        grant: &GrantId,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.read(Table::Setting, &last_use_key(grant), now).await
    }

    /// Keeps when a grant was used, unless a later use is kept.
    pub(super) async fn put_last_use(
        &self,
        grant: &GrantId,
        at: Timestamp,
        keep_until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (key, value, until) = (last_use_key(grant), encode(&at), Some(keep_until));
        let store = &self.store;
        let inserted = store
            .insert(Table::Setting, &key, &value, until, now)
            .await?;
        let Inserted::Exists(seen) = inserted else {
            return Ok(());
        };
        let earlier: Timestamp = decode(&seen)?;
        if earlier < at {
            // Beaten by another replica, whose use was at about this time.
            store
                .replace(Table::Setting, &key, &seen, &value, until, now)
                .await?;
        }
        Ok(())
    }

    /// The view that knows of revocations without a round trip, where there is one.
    pub fn view(&self) -> Option<&RevocationView> {
        self.view.as_deref()
    }

    /// Opens a browser session under the hash of its cookie.
    pub async fn open_session(
        &self,
        hash: &SecretHash,
        session: &BrowserSession,
    ) -> Result<(), StoreError> {
        self.store
            .put(
                Table::Session,
                hash.as_str(),
                &encode(session),
                Some(session.expires),
            )
            .await
    }

    /// A browser session.
    pub async fn session(
        &self,
        hash: &SecretHash,
        now: Timestamp,
    ) -> Result<Option<BrowserSession>, StoreError> {
        self.read(Table::Session, hash.as_str(), now).await
    }

    /// Ends a browser session.
    pub async fn end_session(&self, hash: &SecretHash) -> Result<(), StoreError> {
        self.store.remove(Table::Session, hash.as_str()).await?;
        Ok(())
    }

    /// Marks something that may happen once; `true` for the first caller only.
    pub async fn once(
        &self,
        key: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let inserted = self
            .store
            .insert(Table::Once, key, b"1", Some(until), now)
            .await?;
        Ok(inserted == Inserted::New)
    }

    /// Notes that a form was pressed, and with which answer; what it was pressed with first stays.
    pub async fn press(
        &self,
        form: &str,
        answer: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Pressed, StoreError> {
        let press = Press {
            answer: answer.to_owned(),
            at: now,
        };
        let (value, until) = (encode(&press), Some(until));
        let inserted = self
            .store
            .insert(Table::Once, form, &value, until, now)
            .await?;
        Ok(match inserted {
            Inserted::New => Pressed::First,
            Inserted::Exists(bytes) => decode(&bytes).map_or(Pressed::Before, |first: Press| {
                first.compared_with(answer, now)
            }),
        })
    }

    /// What a form was pressed with within the last minute.
    pub async fn pressed_lately(
        &self,
        form: &str,
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let first: Option<Press> = self.read(Table::Once, form, now).await?;
        let first = first.filter(|press| press.is_recent(now));
        Ok(first.map(|press| press.answer))
    }

    /// Keeps a code under its hash, unless one is there; `false` then. It stays known after its 60
    /// seconds, so that a late replay is recognised for as long as the tokens live that it gave.
    pub async fn add_code(
        &self,
        hash: &SecretHash,
        code: &AuthorizationCode,
        keep_until: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (value, until) = (encode(code), Some(keep_until));
        let inserted = self
            .store
            .insert(Table::Code, hash.as_str(), &value, until, now)
            .await?;
        Ok(inserted == Inserted::New)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        table: Table,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<T>, StoreError> {
        match self.store.get(table, key, now).await? {
            Some(bytes) => decode(&bytes).map(Some),
            None => Ok(None),
        }
    }
}

fn last_use_key(grant: &GrantId) -> String {
    format!("last_use:{grant}")
}

fn allowed_key(user: &UserId, client: &ClientId) -> String {
    format!("allowed:{user}:{client}")
}

/// Tokens count a little longer than they say, and find their tools here.
fn remembered_until(grant: &Grant) -> Timestamp {
    match grant.refresh {
        Some(_) => grant.expires + REMEMBERED_AFTER_END,
        None => grant.expires + 2 * LEEWAY,
    }
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records have text keys only, so they serialise")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes)
        .map_err(|error| StoreError(format!("a record can't be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[tokio::test]
    async fn a_form_is_pressed_once_and_for_a_minute_again_with_the_same_answer() {
        let records = Records::new(Arc::new(Memory::new()));
        let now = Timestamp::from_secs(1_000_000);
        let at = |secs| now + Duration::from_secs(secs);
        let press = async |answer, secs| {
            let pressed = records.press("consent:n", answer, at(600), at(secs)).await;
            pressed.unwrap()
        };
        assert_eq!(press("allow", 0).await, Pressed::First);
        assert_eq!(press("allow", 0).await, Pressed::Again);
        assert_eq!(press("deny", 1).await, Pressed::Before);
        assert_eq!(press("allow", 59).await, Pressed::Again);
        assert_eq!(press("allow", 60).await, Pressed::Before);
        let lately = async |secs| records.pressed_lately("consent:n", at(secs)).await.unwrap();
        assert_eq!(lately(59).await.as_deref(), Some("allow"));
        assert_eq!(lately(60).await, None);
        // What an earlier version noted says nothing of its answer.
        let store = records.store();
        let once = store.put(Table::Once, "consent:o", b"1", Some(at(600)));
        once.await.unwrap();
        let pressed = records.press("consent:o", "allow", at(600), now).await;
        assert_eq!(pressed.unwrap(), Pressed::Before);
    }
}
