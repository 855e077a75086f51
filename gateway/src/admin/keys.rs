//! `keys`: the signing keys of this installation, as this process sees them.

use super::failure::Failure;
use super::outcome::{Done, Subject};
use super::request::Request;
use crate::keys::KeysError;
use crate::keys::ring::{KeyRing, RevokeFaults, RingError, RingKey, described};
use crate::operator_api::{
    AdminTokenChanged, ChangeAdminToken, KeyPage, KeyView, KeysToRevoke, ListKeys, MadeKey,
    MakeKey, RevokeKeys,
};
use gateway_core::reason::Reason;

impl From<RingError> for Failure {
    fn from(error: RingError) -> Self {
        match error {
            RingError::Store(error) => error.into(),
            RingError::Keys(KeysError::Io(path, error)) => Self::new(
                Reason::KeysFolderUnwritable,
                format!("{}: {error}", path.display()),
            ),
            error => Self::new(Reason::Internal, error.to_string()),
        }
    }
}

fn views(ring: &KeyRing) -> Vec<KeyView> {
    let view = |key: RingKey| {
        let (state, until) = described(key.state);
        KeyView {
            key: key.number,
            state: state.to_owned(),
            until,
            since: key.first_seen.to_string(),
            public: key.public,
        }
    };
    ring.keys().into_iter().map(view).collect()
}

pub(super) fn list(ring: &KeyRing) -> Done {
    Done::read::<ListKeys>(&KeyPage { keys: views(ring) })
}

pub(super) async fn make(ring: &KeyRing) -> Result<Done, Failure> {
    let made = ring.make_next().await?;
    let answer = MadeKey {
        made,
        shared: ring.is_shared(),
        keys: views(ring),
    };
    let subject = Subject::default().with_words(format!("key {made}"));
    Ok(Done::new::<MakeKey>(&answer, subject))
}

pub(super) async fn revoke(ring: &KeyRing, request: &Request) -> Result<Done, Failure> {
    let KeysToRevoke { keys } = request.body::<RevokeKeys>()?;
    let known = ring.keys();
    if let Some(number) = keys
        .iter()
        .find(|number| known.iter().all(|key| key.number != **number))
    {
        return Err(Failure::unknown(
            "signing key",
            &number.to_string(),
            "keys ls",
        ));
    }
    let is_left = known
        .iter()
        .any(|key| key.state.verifies() && !keys.contains(&key.number));
    if !is_left {
        return Err(Reason::LastSigningKey.into());
    }
    let faults = ring.revoke(&keys).await;
    if let Some(failure) = failed(&keys, faults) {
        return Err(failure);
    }
    let words: Vec<String> = keys.iter().map(u32::to_string).collect();
    let subject = Subject::default().with_words(format!("key {}", words.join(", ")));
    let answer = KeyPage { keys: views(ring) };
    Ok(Done::new::<RevokeKeys>(&answer, subject))
}

/// What was not done, key by key, and what was.
fn failed(asked: &[u32], faults: RevokeFaults) -> Option<Failure> {
    let RevokeFaults { unrevoked, folder } = faults;
    let done: Vec<String> = asked
        .iter()
        .filter(|number| unrevoked.iter().all(|(failed, _)| failed != *number))
        .map(u32::to_string)
        .collect();
    let mut sentences: Vec<String> = unrevoked
        .iter()
        .map(|(number, error)| format!("whether key {number} is revoked is not known: {error}"))
        .collect();
    let of_store = unrevoked.first().map(|(_, error)| error.reason());
    let of_folder = folder.map(Failure::from);
    sentences.extend(of_folder.as_ref().map(|failure| failure.sentence.clone()));
    let reason = of_store.or_else(|| of_folder.map(|failure| failure.reason))?;
    let mut subject: Vec<String> = unrevoked
        .iter()
        .map(|(number, _)| format!("key {number}, not known to be revoked"))
        .collect();
    if !done.is_empty() {
        let done = format!("key {} is revoked", done.join(", "));
        sentences.push(done.clone());
        subject.push(done);
    }
    let subject = Subject::default().with_words(subject.join("; "));
    Some(Failure::new(reason, sentences.join("; ")).about(&subject))
}

pub(super) async fn change_admin_token(ring: &KeyRing) -> Result<Done, Failure> {
    ring.replace_admin_token().await?;
    let answer = AdminTokenChanged { changed: true };
    Ok(Done::new::<ChangeAdminToken>(&answer, Subject::default()))
}
