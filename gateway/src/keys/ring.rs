//! The signing keys of a running gateway: which of those in the keys folder signs, which verify, and what
//! changes while it runs. A file that appears in the folder is taken up by itself, on every replica that
//! shares the folder or has the same secret mounted.
//!
//! The folder says which keys there are, the store when each was first seen and which are revoked, so all
//! replicas decide alike (`gateway_core::access_token::key_states`). A key that is first seen verifies at
//! once. Where there may be other replicas it signs only after a while, when all of them verify by it.
//!
//! A folder that can't be read, or holds no key any more (a volume that is not mounted), takes nothing away: the
//! keys that were read last stay in use, and what is revoked is refused all the same.
//!
//! Owns: following folder and store. Not: the decision, the form of a key (`keys`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use biscuit_auth::KeyPair;
use parking_lot::RwLock;
use rand::rngs::OsRng;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};

use super::KeysError;
use gateway_core::access_token::{
    Approver, KeyFacts, KeyState, Keys, KeysHandle, LEEWAY, RotationTimes, key_states,
};
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::secret::SecretHash;
use gateway_store::{Records, RevocationView, Revoked, StoreError};

/// How often the folder is looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// How long a new key waits where replicas share a store: a kubelet brings a changed secret to all nodes
/// within about two minutes.
const REPLICAS: Duration = Duration::from_secs(300);
/// What tokens lived before somebody shortened their lives, as far as we know.
const USUAL_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A key is revoked for good.
const FOR_GOOD: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Why the keys of the folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The folder.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another gateway has another key under the same number.
    #[error("signing key {0} is another than the one that the store knows")]
    Other(u32),
}

/// What went wrong while keys were revoked.
#[derive(Debug, Default)]
pub struct RevokeFaults {
    /// Keys of which it is unknown whether they are revoked, and why.
    pub unrevoked: Vec<(u32, StoreError)>,
    /// Why the folder could not be looked at afterwards. What is revoked is refused all the same.
    pub folder: Option<RingError>,
}

/// What a ring is made of.
#[derive(Debug)]
pub struct RingSettings {
    /// The keys folder.
    pub folder: PathBuf,
    /// Whose approvals count.
    pub approvers: Vec<Approver>,
    /// How long tokens live.
    pub access_ttl: Duration,
    /// What the operator's commands must show; without it they are refused.
    pub admin_token: Option<SecretHash>,
}

/// The keys of a running gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyRing(Arc<Ring>);

#[derive(Debug)]
struct Ring {
    settings: RingSettings,
    times: RotationTimes,
    is_shared: bool,
    records: Records,
    revocations: Arc<RevocationView>,
    clock: Clock,
    handle: KeysHandle,
    admin_token: RwLock<Option<SecretHash>>,
    keys: RwLock<Vec<RingKey>>,
    look: Notify,
    /// Why what was read before stays in use, if so.
    fault: RwLock<Option<String>>,
    /// What was found last. Held while it is looked.
    found: Mutex<Found>,
}

/// What the folder and the store said.
#[derive(Debug, Default)]
struct Found {
    folder: Option<Folder>,
    revoked: BTreeSet<u32>,
    /// When a key changes by itself.
    changes: Option<Timestamp>,
}

/// A folder that could be read.
#[derive(Debug)]
struct Folder {
    files: Listing,
    pairs: BTreeMap<u32, KeyPair>,
    /// `None` where there is none: the one of before stays.
    admin_token: Option<SecretHash>,
}

/// Names, lengths and times of the files in the folder.
type Listing = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// A signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingKey {
    /// Its number.
    pub number: u32,
    /// The public half, in hexadecimal.
    pub public: String,
    /// When the first replica saw it.
    pub first_seen: Timestamp,
    /// What it does.
    pub state: KeyState,
}

impl KeyRing {
    /// Reads the folder, and asks the store about what is in it.
    pub async fn open(
        settings: RingSettings,
        records: Records,
        revocations: Arc<RevocationView>,
        clock: Clock,
    ) -> Result<Self, RingError> {
        let is_shared = records.store().is_shared();
        let times = RotationTimes {
            delay: if is_shared { REPLICAS } else { Duration::ZERO },
            overlap: settings.access_ttl.max(USUAL_LIFE) + 2 * LEEWAY,
        };
        let pairs = super::signing_pairs(&settings.folder)?;
        let first = Keys::new(pairs).ok_or_else(|| KeysError::Broken(settings.folder.clone()))?;
        let ring = Self(Arc::new(Ring {
            admin_token: RwLock::new(settings.admin_token.clone()),
            settings,
            times,
            is_shared,
            records,
            revocations,
            clock,
            handle: KeysHandle::new(first),
            keys: RwLock::default(),
            look: Notify::new(),
            fault: RwLock::default(),
            found: Mutex::default(),
        }));
        ring.refresh(Unknown::EndsTheStart).await?;
        Ok(ring)
    }

    /// Follows the folder for as long as somebody holds the ring.
    pub fn follow(&self, runtime: &Handle) {
        let ring = Arc::downgrade(&self.0);
        runtime.spawn(async move {
            let mut last = None;
            while let Some(ring) = ring.upgrade().map(Self) {
                let _ = tokio::time::timeout(PERIOD, ring.0.look.notified()).await;
                let fault = ring.refresh(Unknown::IsLeftOut).await.err();
                let fault = fault.map(|error| error.to_string());
                if let Some(fault) = &fault
                    && last.as_ref() != Some(fault)
                {
                    log::error!(
                        event = "signing_keys_kept", fault = fault.as_str(),
                        hint = "the keys of before stay in use; it is tried again every two seconds";
                        "the keys folder was not taken up"
                    );
                }
                last = fault;
            }
        });
    }

    /// Has the folder looked at now.
    pub fn look_again(&self) {
        self.0.look.notify_one();
    }

    /// Where everybody takes the keys from.
    pub fn handle(&self) -> KeysHandle {
        self.0.handle.clone()
    }

    /// What the operator's commands must show; without it they are refused.
    pub fn admin_token(&self) -> Option<SecretHash> {
        self.0.admin_token.read().clone()
    }

    /// The keys as they are now, lowest number first.
    pub fn keys(&self) -> Vec<RingKey> {
        self.0.keys.read().clone()
    }

    /// Why the keys of before stay in use, where the folder can't be taken up as it is.
    pub fn fault(&self) -> Option<String> {
        self.0.fault.read().clone()
    }

    /// Whether there may be other replicas.
    pub fn is_shared(&self) -> bool {
        self.0.is_shared
    }

    /// Makes the next key in the folder and takes it up; its number, which no key had before.
    pub async fn make_next(&self) -> Result<u32, RingError> {
        let Ring { records, clock, .. } = &*self.0;
        let noted = records.last_signing_key(clock.now()).await?;
        let revoked = self.0.revocations.revoked_signing_keys();
        let last = revoked.last().copied().unwrap_or(0).max(noted);
        let folder = self.0.settings.folder.clone();
        let made = on_disk(move || super::create_next(&folder, last, &mut OsRng)).await??;
        self.refresh(Unknown::IsLeftOut).await?;
        Ok(made)
    }

    /// Refuses all that was signed with these keys, everywhere and for good. Each is tried, whatever becomes
    /// of the others.
    pub async fn revoke(&self, numbers: &[u32]) -> RevokeFaults {
        let Ring { records, clock, .. } = &*self.0;
        let now = clock.now();
        let mut faults = RevokeFaults::default();
        for number in numbers {
            let key = Revoked::SigningKey(*number);
            if let Err(error) = records.revoke(&key, now + FOR_GOOD, now).await {
                faults.unrevoked.push((*number, error));
            }
        }
        faults.folder = self.refresh(Unknown::IsLeftOut).await.err();
        faults
    }

    /// Puts another token for the operator's commands into the folder.
    pub async fn replace_admin_token(&self) -> Result<(), RingError> {
        let folder = self.0.settings.folder.clone();
        on_disk(move || super::replace_admin_token(&folder, &mut OsRng)).await??;
        self.refresh(Unknown::IsLeftOut).await
    }

    async fn refresh(&self, unknown: Unknown) -> Result<(), RingError> {
        let mut found = self.0.found.lock().await;
        let refreshed = self.refresh_from(&mut found, unknown).await;
        *self.0.fault.write() = refreshed.as_ref().err().map(ToString::to_string);
        refreshed
    }

    /// Where the folder can't be taken up, all else is: what was revoked must not sign on.
    async fn refresh_from(&self, found: &mut Found, unknown: Unknown) -> Result<(), RingError> {
        let (is_new, fault) = match self.read(found.folder.as_ref()).await {
            Ok(None) => (false, None),
            Ok(Some(folder)) => {
                found.folder = Some(folder);
                (true, None)
            }
            Err(fault) => (false, Some(fault)),
        };
        let revoked = self.0.revocations.revoked_signing_keys();
        let now = self.0.clock.now();
        let is_same =
            !is_new && found.revoked == revoked && found.changes.is_none_or(|change| now < change);
        if let (Some(folder), false) = (&found.folder, is_same) {
            let taken_up = self.take_up(folder, &revoked, unknown, now).await;
            found.revoked = revoked;
            // What was not taken up whole is looked at again.
            found.changes = taken_up.as_ref().map_or(Some(now), |changes| *changes);
            taken_up?;
        }
        fault.map_or(Ok(()), Err)
    }

    /// The folder, if it is another than it was.
    async fn read(&self, before: Option<&Folder>) -> Result<Option<Folder>, RingError> {
        let path = self.0.settings.folder.clone();
        let before = before.map(|before| before.files.clone());
        Ok(on_disk(move || read(&path, before.as_ref())).await??)
    }

    /// Puts the keys of the folder to use; when one of them changes by itself.
    async fn take_up(
        &self,
        folder: &Folder,
        revoked: &BTreeSet<u32>,
        unknown: Unknown,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, RingError> {
        let ring = &*self.0;
        let mut facts = BTreeMap::new();
        let mut other = None;
        for (number, pair) in &folder.pairs {
            let public = pair.public().to_bytes_hex();
            if !ring.records.note_signing_key(*number, &public, now).await? {
                other = Some(*number);
                continue;
            }
            let known = KeyFacts {
                first_seen: ring.records.signing_key_first_seen(*number, now).await?,
                is_revoked: revoked.contains(number),
            };
            facts.insert(*number, known);
        }
        if let (Some(number), true) = (other, unknown == Unknown::EndsTheStart || facts.is_empty())
        {
            return Err(RingError::Other(number));
        }
        let states = key_states(&facts, ring.times, now);
        let keys = facts.iter().zip(states.values());
        let keys = keys.filter_map(|((number, facts), state)| {
            Some(RingKey {
                number: *number,
                public: folder.pairs.get(number)?.public().to_bytes_hex(),
                first_seen: facts.first_seen,
                state: *state,
            })
        });
        let keys: Vec<RingKey> = keys.collect();
        tell(&ring.keys.read(), &keys);
        *ring.keys.write() = keys;
        let pairs = folder.pairs.iter();
        let pairs = pairs.filter(|(number, _)| facts.contains_key(number));
        let pairs = pairs.map(|(number, pair)| (*number, KeyPair::from(&pair.private())));
        let approvers = ring.settings.approvers.clone();
        ring.handle
            .replace(Keys::in_states(pairs.collect(), &states).with_approvers(approvers));
        if let Some(token) = &folder.admin_token {
            *ring.admin_token.write() = Some(token.clone());
        }
        match other {
            Some(number) => Err(RingError::Other(number)),
            None => Ok(states.values().filter_map(|state| state.changes()).min()),
        }
    }
}

/// A state by its name, and when it changes by itself.
pub fn described(state: KeyState) -> (&'static str, Option<String>) {
    (state.name(), state.changes().map(|at| at.to_string()))
}

/// What becomes of a key that the store knows otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    EndsTheStart,
    IsLeftOut,
}

fn tell(before: &[RingKey], now: &[RingKey]) {
    for key in now {
        let was = before.iter().find(|was| was.number == key.number);
        if was.map(|was| was.state) != Some(key.state) && !(before.is_empty() && now.len() == 1) {
            let (state, until) = described(key.state);
            log::info!(
                event = "signing_key", key = key.number, state = state, until = until.as_deref();
                "signing key {}: {state}", key.number
            );
        }
    }
}

/// For what reads and writes files.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RingError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Away(error.to_string()).into())
}

/// What is in the folder, if it is something else than before.
fn read(folder: &Path, before: Option<&Listing>) -> Result<Option<Folder>, KeysError> {
    let files = listing(folder)?;
    if before == Some(&files) {
        return Ok(None);
    }
    let admin_token = match super::admin_token(folder) {
        Ok(token) => Some(token.hash()),
        Err(KeysError::Io(..)) => None,
        Err(error) => return Err(error),
    };
    let pairs = super::signing_pairs(folder)?;
    if pairs.is_empty() {
        return Err(KeysError::Gone(folder.to_owned()));
    }
    Ok(Some(Folder {
        files,
        pairs,
        admin_token,
    }))
}

fn listing(folder: &Path) -> Result<Listing, KeysError> {
    let io = |error| KeysError::Io(folder.to_owned(), error);
    let mut files = Listing::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        // Where a secret is mounted, they are links.
        if let Ok(metadata) = std::fs::metadata(&path) {
            files.insert(path, (metadata.len(), metadata.modified().ok()));
        }
    }
    Ok(files)
}
