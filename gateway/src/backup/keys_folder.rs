//! The files of the keys folder in a backup: all of them, whatever they are for, but the token of the
//! operator's commands. That one is made anew where it is missing, and one that was changed because somebody
//! knew it must not come back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::archive::KeyFile;
use super::staging::{self, UNFINISHED};
use crate::keys::ADMIN_TOKEN;

/// A key is far smaller.
const LARGEST: u64 = 64 * 1024;
/// What a file that was there is called afterwards.
pub const REPLACED: &str = ".replaced";

/// Why keys can't be read or put back.
#[derive(Debug, thiserror::Error)]
pub enum KeysFolderError {
    /// The file system refused.
    #[error("{path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, io::Error),
    /// It is no file of keys.
    #[error("{path} is too large, or no text: only keys belong into that folder", path = .0.display())]
    Foreign(PathBuf),
    /// A backup holds a name that no key has.
    #[error("it holds a key by the name {0:?}, which is none")]
    Name(String),
}

/// The files of `folder`, in the order of their names.
pub fn read(folder: &Path) -> Result<Vec<KeyFile>, KeysFolderError> {
    let io = |error| KeysFolderError::Io(folder.to_owned(), error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let is_kept = |name: &&str| is_name(name) && *name != ADMIN_TOKEN;
        let Some(name) = name.to_str().filter(is_kept) else {
            continue;
        };
        let path = folder.join(name);
        // Where a secret is mounted, they are links.
        let metadata =
            fs::metadata(&path).map_err(|error| KeysFolderError::Io(path.clone(), error))?;
        if !metadata.is_file() {
            continue;
        }
        if metadata.len() > LARGEST {
            return Err(KeysFolderError::Foreign(path));
        }
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => KeysFolderError::Foreign(path.clone()),
            _ => KeysFolderError::Io(path.clone(), error),
        })?;
        files.push(KeyFile {
            name: name.to_owned(),
            text,
        });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Those of the files that `folder` does not have as they are, and whether another one stands in their place.
pub fn missing(folder: &Path, files: &[KeyFile]) -> Result<Vec<(KeyFile, bool)>, KeysFolderError> {
    let mut missing = Vec::new();
    for file in files {
        if !is_name(&file.name) {
            return Err(KeysFolderError::Name(file.name.clone()));
        }
        // Earlier versions put it into backups.
        if file.name == ADMIN_TOKEN {
            continue;
        }
        let path = folder.join(&file.name);
        match fs::read_to_string(&path) {
            Ok(text) if text == file.text => {}
            Ok(_) => missing.push((file.clone(), true)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing.push((file.clone(), false));
            }
            Err(error) => return Err(KeysFolderError::Io(path, error)),
        }
    }
    Ok(missing)
}

/// Puts files into `folder`, which is made if it is missing. What was there is kept beside them.
pub fn write(folder: &Path, files: &[(KeyFile, bool)]) -> Result<(), KeysFolderError> {
    if files.is_empty() {
        return Ok(());
    }
    staging::make_folder(folder).map_err(|error| KeysFolderError::Io(folder.to_owned(), error))?;
    for (file, _) in files {
        let path = folder.join(&file.name);
        staging::place(&path, file.text.as_bytes(), Some(REPLACED))
            .map_err(|error| KeysFolderError::Io(path, error))?;
    }
    Ok(())
}

/// Whether a key may be called so: a plain name, and none of a file that was replaced or is unfinished.
fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.len() <= 100
        && name.bytes().all(is_plain)
        && !name.is_empty()
        && !name.starts_with('.')
        && !name.ends_with(REPLACED)
        && !name.ends_with(UNFINISHED)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(name: &str, text: &str) -> KeyFile {
        KeyFile {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn keys_are_put_back_and_what_was_there_stays_beside_them() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("keys");
        let files = [key("signing-1.key", "a\n"), key("tags.key", "b\n")];
        let missing_now = missing(&folder, &files).unwrap();
        assert_eq!(missing_now.len(), 2);
        write(&folder, &missing_now).unwrap();
        assert_eq!(read(&folder).unwrap(), files);
        assert!(missing(&folder, &files).unwrap().is_empty());
        let other = [key("tags.key", "c\n")];
        let replaced = missing(&folder, &other).unwrap();
        assert!(replaced[0].1, "another one stands there");
        write(&folder, &replaced).unwrap();
        let beside = fs::read_to_string(folder.join("tags.key.replaced")).unwrap();
        assert_eq!(beside, "b\n");
        assert_eq!(read(&folder).unwrap(), [files[0].clone(), other[0].clone()]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&folder), mode(&folder.join("tags.key"))),
            (0o700, 0o600)
        );
    }

    #[test]
    fn the_token_of_the_commands_is_neither_kept_nor_brought_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join(ADMIN_TOKEN), "now").unwrap();
        fs::write(path.join("tags.key"), "b").unwrap();
        assert_eq!(read(path).unwrap(), [key("tags.key", "b")]);
        // As earlier versions made them.
        let of_backup = [key(ADMIN_TOKEN, "then"), key("tags.key", "b")];
        assert!(missing(path, &of_backup).unwrap().is_empty());
        assert_eq!(fs::read_to_string(path.join(ADMIN_TOKEN)).unwrap(), "now");
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["../x", "a/b", "", ".hidden", "x.replaced", "x.1.new", "ü"] {
            let refused = missing(folder.path(), &[key(name, "")]);
            assert!(matches!(refused, Err(KeysFolderError::Name(_))), "{name}");
        }
    }
}
