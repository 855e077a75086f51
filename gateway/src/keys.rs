//! The keys folder: made on first start, kept for good, private to its owner.
//!
//! `signing-N.key` holds an Ed25519 key for access tokens, of which [`ring`] says what each does; `tags.key`
//! holds the key for tags in forms, cookies and session ids; `accounts-N.key` seals people's accounts at
//! backends (`account_keys`); `admin.token` is what the operator's commands
//! show to a running gateway. Replicas share one folder.

pub mod ring;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use biscuit_auth::builder::Algorithm;
use biscuit_auth::{KeyPair, PrivateKey};
use rand::RngCore;
use zeroize::Zeroizing;

use crate::backup::staging;
use gateway_core::access_token::Keys;
use gateway_core::hex;
use gateway_core::protocol::bearer::BearerToken;
use gateway_core::secret::{Secret, TagKey};

const TAGS: &str = "tags.key";
/// The file of the token for the operator's commands.
pub const ADMIN_TOKEN: &str = "admin.token";

/// What the folder holds.
#[derive(Debug)]
pub struct KeysFolder {
    /// For access tokens.
    pub signing: Keys,
    /// For tags.
    pub tags: TagKey,
    /// Whether this start made them.
    pub created: bool,
}

/// Why the keys can't be used. Every one of them ends the start.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file system refused.
    #[error(
        "{path}: {error}; the keys are kept there: let the gateway's user write there, or name another \
         folder with `keys_dir`, or with --store where they are in the state folder",
        path = .0.display(), error = .1
    )]
    Io(PathBuf, io::Error),
    /// Others on this machine could read a key.
    #[error("{path} can be read by others (mode {mode:o}); run: chmod 600 {path}", path = .0.display(), mode = .1)]
    Exposed(PathBuf, u32),
    /// It is no key.
    #[error("{path} is no key; restore it from a backup, or remove it to make a new one, which ends all connections", path = .0.display())]
    Broken(PathBuf),
    /// There were keys.
    #[error("{path} holds no signing key any more: mount it again, or restore it from a backup", path = .0.display())]
    Gone(PathBuf),
    /// No request could show it, or it could be guessed.
    #[error("{path} must hold 32 or more letters, digits or -._~+/; remove it, and the gateway makes a new one when it starts", path = .0.display())]
    AdminToken(PathBuf),
}

/// Reads the folder; makes it and its keys where they are missing.
pub fn open(
    folder: &Path,
    random: &mut (impl RngCore + rand::CryptoRng),
) -> Result<KeysFolder, KeysError> {
    let io = |error| KeysError::Io(folder.to_owned(), error);
    staging::make_folder(folder).map_err(io)?;
    // A folder that is mounted read-only has its mode already.
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));

    let mut created = false;
    if signing_files(folder)?.is_empty() {
        create_pair(&signing_file(folder, 1), random)?;
        created = true;
    }
    let tags = folder.join(TAGS);
    if !tags.exists() {
        create_bytes(&tags, random)?;
        created = true;
    }

    read_folder(folder, created)
}

/// Reads the folder as it is, and makes nothing. `None` where keys are missing.
pub fn existing(folder: &Path) -> Result<Option<KeysFolder>, KeysError> {
    let is_whole = folder.join(TAGS).is_file() && !signing_files(folder)?.is_empty();
    is_whole.then(|| read_folder(folder, false)).transpose()
}

fn read_folder(folder: &Path, created: bool) -> Result<KeysFolder, KeysError> {
    let tags = folder.join(TAGS);
    let signing =
        Keys::new(signing_pairs(folder)?).ok_or_else(|| KeysError::Broken(folder.to_owned()))?;
    Ok(KeysFolder {
        signing,
        tags: TagKey::new(read_bytes(&tags)?),
        created,
    })
}

/// The token for the operator's commands, made where it is missing. `None` where it can't be: in a
/// folder from before there was one, mounted read-only. The commands are refused then, and all else
/// works. For the gateway itself: a file that a command made for another user could not be read.
pub fn make_admin_token(
    folder: &Path,
    random: &mut (impl RngCore + rand::CryptoRng),
) -> Result<Option<Secret>, KeysError> {
    let path = folder.join(ADMIN_TOKEN);
    if !path.exists()
        && let Err(error) = create(&path, Secret::draw(random).reveal())
    {
        log::warn!(
            event = "admin_token_missing", hint = "the operator's commands are refused until it is there";
            "{error}"
        );
        return Ok(None);
    }
    admin_token(folder).map(Some)
}

/// Reads the token for the operator's commands. Refused if others could read it.
pub fn admin_token(folder: &Path) -> Result<Secret, KeysError> {
    let path = folder.join(ADMIN_TOKEN);
    let text = read(&path)?;
    // What `open` writes has 43 characters; one that was set by hand must be as hard to guess, and
    // must be one that a request can show.
    if text.len() < 32 || BearerToken::parse_token(&text).is_none() {
        return Err(KeysError::AdminToken(path));
    }
    Ok(Secret::presented(text))
}

/// The keys for access tokens, by their numbers.
fn signing_pairs(folder: &Path) -> Result<BTreeMap<u32, KeyPair>, KeysError> {
    let mut pairs = BTreeMap::new();
    for (id, path) in signing_files(folder)? {
        pairs.insert(id, read_pair(&path)?);
    }
    Ok(pairs)
}

/// Makes the next key for access tokens; its number, which is above `last` and all that are there: a number
/// is never used again. Where two replicas do so at once, they make one.
fn create_next(
    folder: &Path,
    last: u32,
    random: &mut (impl RngCore + rand::CryptoRng),
) -> Result<u32, KeysError> {
    let highest = signing_files(folder)?.iter().map(|(id, _)| *id).max();
    let highest = highest.unwrap_or(0).max(last);
    let next = highest.checked_add(1);
    let next = next.ok_or_else(|| KeysError::Broken(signing_file(folder, highest)))?;
    create_pair(&signing_file(folder, next), random)?;
    Ok(next)
}

fn signing_file(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("signing-{number}.key"))
}

/// Puts another token for the operator's commands in the place of the one that is there.
fn replace_admin_token(
    folder: &Path,
    random: &mut (impl RngCore + rand::CryptoRng),
) -> Result<(), KeysError> {
    let path = folder.join(ADMIN_TOKEN);
    let text = format!("{}\n", Secret::draw(random).reveal());
    staging::place(&path, text.as_bytes(), None).map_err(|error| KeysError::Io(path, error))
}

/// Makes a key of its own in a file that was not there: an approver's.
pub fn create_pair(
    path: &Path,
    random: &mut (impl RngCore + rand::CryptoRng),
) -> Result<KeyPair, KeysError> {
    let pair = KeyPair::new_with_rng(Algorithm::Ed25519, random);
    create(path, &pair.private().to_prefixed_string())?;
    read_pair(path)
}

/// Reads such a key. Refused if others could read it.
pub fn read_pair(path: &Path) -> Result<KeyPair, KeysError> {
    let private = read(path)?
        .parse::<PrivateKey>()
        .map_err(|_| KeysError::Broken(path.to_owned()))?;
    Ok(KeyPair::from(&private))
}

fn signing_files(folder: &Path) -> Result<Vec<(u32, PathBuf)>, KeysError> {
    numbered(folder, "signing")
}

/// The files `NAME-N.key`, with their numbers.
pub(crate) fn numbered(folder: &Path, name: &str) -> Result<Vec<(u32, PathBuf)>, KeysError> {
    let io = |error| KeysError::Io(folder.to_owned(), error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let file = entry.file_name();
        let id = file.to_str().and_then(|file| {
            file.strip_prefix(name)?
                .strip_prefix('-')?
                .strip_suffix(".key")?
                .parse()
                .ok()
        });
        if let Some(id) = id {
            files.push((id, entry.path()));
        }
    }
    Ok(files)
}

/// Makes a key of 256 bits in a file that was not there.
pub(crate) fn create_bytes(
    path: &Path,
    random: &mut (impl RngCore + rand::CryptoRng),
) -> Result<(), KeysError> {
    let mut bytes = Zeroizing::new([0; 32]);
    random.fill_bytes(&mut *bytes);
    create(path, &hex::encode(bytes.as_slice()))
}

/// Reads such a key. Refused if others could read it.
pub(crate) fn read_bytes(path: &Path) -> Result<[u8; 32], KeysError> {
    let bytes = hex::decode(&read(path)?).map(Zeroizing::new);
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(&**bytes).ok());
    let bytes = bytes.filter(|bytes| *bytes != [0; 32]);
    bytes.ok_or_else(|| KeysError::Broken(path.to_owned()))
}

fn read(path: &Path) -> Result<String, KeysError> {
    let io = |error| KeysError::Io(path.to_owned(), error);
    let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeysError::Exposed(path.to_owned(), mode));
    }
    Ok(fs::read_to_string(path).map_err(io)?.trim().to_owned())
}

/// Writes a file that was not there, whole or not at all. Where two replicas start at once, the
/// second sees the first one's key.
fn create(path: &Path, text: &str) -> Result<(), KeysError> {
    staging::place_new(path, format!("{text}\n").as_bytes())
        .map(drop)
        .map_err(|error| KeysError::Io(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::OsRng;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("gateway-keys-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn keys_are_made_once_and_then_kept() {
        let folder = folder("kept");
        let first = open(&folder, &mut OsRng).unwrap();
        let second = open(&folder, &mut OsRng).unwrap();
        assert!(first.created && !second.created);
        let public = |keys: &KeysFolder| keys.signing.public_keys().collect::<Vec<_>>();
        assert_eq!(public(&first), public(&second));
        assert_eq!(first.tags.tag(&[b"x"]), second.tags.tag(&[b"x"]));
        let token = make_admin_token(&folder, &mut OsRng).unwrap().unwrap();
        assert_eq!(
            make_admin_token(&folder, &mut OsRng).unwrap().unwrap(),
            token
        );
        assert_eq!(admin_token(&folder).unwrap(), token);
        for name in ["signing-1.key", "tags.key", "admin.token"] {
            let mode = fs::metadata(folder.join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_only_looked_at_is_not_made() {
        let folder = folder("looked-at");
        fs::create_dir_all(&folder).unwrap();
        assert!(existing(&folder).unwrap().is_none());
        fs::write(folder.join(TAGS), hex::encode([7; 32])).unwrap();
        assert!(existing(&folder).unwrap().is_none());
        let made: Vec<_> = fs::read_dir(&folder).unwrap().collect();
        assert_eq!(made.len(), 1, "{made:?}");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_ends_the_start() {
        let folder = folder("exposed");
        open(&folder, &mut OsRng).unwrap();
        fs::set_permissions(folder.join("tags.key"), Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            open(&folder, &mut OsRng),
            Err(KeysError::Exposed(..))
        ));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_broken_or_zero_key_ends_the_start() {
        let folder = folder("broken");
        open(&folder, &mut OsRng).unwrap();
        for text in ["", "ed25519-private/00", &"0".repeat(64), &"+f".repeat(32)] {
            fs::write(folder.join("tags.key"), text).unwrap();
            assert!(
                matches!(open(&folder, &mut OsRng), Err(KeysError::Broken(_))),
                "{text}"
            );
        }
        make_admin_token(&folder, &mut OsRng).unwrap();
        let by_hand = format!("{}-._~+/", "a".repeat(26));
        fs::write(folder.join("admin.token"), &by_hand).unwrap();
        let token = make_admin_token(&folder, &mut OsRng).unwrap().unwrap();
        assert_eq!(token.reveal(), by_hand);
        for wrong in ["guess me", &format!("{by_hand}!"), &"x".repeat(5000)] {
            fs::write(folder.join("admin.token"), wrong).unwrap();
            let refused = make_admin_token(&folder, &mut OsRng);
            assert!(matches!(refused, Err(KeysError::AdminToken(_))), "{wrong}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
