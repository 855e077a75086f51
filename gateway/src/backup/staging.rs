//! Files that take the place of others: written beside them, made durable, and moved in one step, so that
//! whoever looks sees the old one or the whole new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use rand::rngs::OsRng;

use gateway_core::secret;

/// What the names of files end with that are not finished.
pub const UNFINISHED: &str = ".new";

/// A file that is being written. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct StagedFile {
    target: PathBuf,
    staged: PathBuf,
    is_given: bool,
    is_placed: bool,
}

impl StagedFile {
    /// A name beside `target` that nothing has and nobody guesses, for whoever writes the file by other
    /// means. They must make it anew: what is there is somebody else's.
    pub fn reserve(target: &Path) -> io::Result<Self> {
        Ok(Self {
            target: target.to_owned(),
            staged: beside(target)?,
            is_given: false,
            is_placed: false,
        })
    }

    /// Opens a new one to write to, readable by its owner alone.
    pub fn create(target: &Path) -> io::Result<(Self, BufWriter<File>)> {
        let staged = Self::reserve(target)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&staged.staged)?;
        Ok((staged, BufWriter::new(file)))
    }

    /// For the owner of the folder that it is in: what root writes into the folder of another user's
    /// gateway is for that user to read.
    #[must_use]
    pub fn for_owner_of_folder(mut self) -> Self {
        self.is_given = true;
        self
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.staged
    }

    /// Makes it durable and moves it to its place. What is there is removed, or gets the name `keep_as`
    /// beside it: at every moment one of the two has the place.
    pub fn place(mut self, keep_as: Option<&str>) -> io::Result<()> {
        self.finish()?;
        if let Some(suffix) = keep_as {
            keep(&self.target, suffix)?;
        }
        fs::rename(&self.staged, &self.target)?;
        self.is_placed = true;
        sync_folder(&self.target)
    }

    /// Makes it durable and gives it its place, unless something has it: then that stays. Whether it has it.
    pub fn place_new(self) -> io::Result<bool> {
        self.finish()?;
        // Unlike a rename, a link never replaces what is there. The other name goes with the drop.
        let is_new = match fs::hard_link(&self.staged, &self.target) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        sync_folder(&self.target)?;
        Ok(is_new)
    }

    fn finish(&self) -> io::Result<()> {
        if self.is_given {
            give(&self.staged)?;
        }
        File::open(&self.staged)?.sync_all()
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = fs::remove_file(&self.staged);
        }
    }
}

/// Writes a whole file, for the owner of its folder, and moves it to its place.
pub fn place(target: &Path, text: &[u8], keep_as: Option<&str>) -> io::Result<()> {
    write(target, text)?.place(keep_as)
}

/// Writes a whole file, for the owner of its folder, where there is none. Whether there was none.
pub fn place_new(target: &Path, text: &[u8]) -> io::Result<bool> {
    write(target, text)?.place_new()
}

fn write(target: &Path, text: &[u8]) -> io::Result<StagedFile> {
    let (staged, mut out) = StagedFile::create(target)?;
    out.write_all(text)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(staged.for_owner_of_folder())
}

/// Makes a folder that its owner alone may enter, and those that it is in. Where root makes them, each
/// belongs to the owner of the one that it is in.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder_of(folder);
    if above != folder {
        make_folder(above)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made.and_then(|()| give(folder)),
    }
}

/// Removes what was written beside `target` by a process that was killed before it was done. For whoever
/// knows that nobody writes there now.
pub fn remove_unfinished(target: &Path) -> io::Result<()> {
    let Some(begin) = target.file_name().and_then(|name| name.to_str()) else {
        return Ok(());
    };
    for entry in fs::read_dir(folder_of(target))? {
        let entry = entry?;
        let is_unfinished = entry.file_name().to_str().is_some_and(|name| {
            let rest = name
                .strip_prefix(begin)
                .and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|rest| rest.ends_with(UNFINISHED))
        });
        if is_unfinished && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The folder that a file is in.
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Where root made something: it belongs to the owner of its folder from now on. Root in a container without
/// that right keeps it, and is told so: a gateway that runs as root reads it.
fn give(path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(folder_of(path))?;
    match chown(path, Some(owner.uid()), Some(owner.gid())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let (path, uid) = (path.display(), owner.uid());
            eprintln!(
                "warning: {path} can't be given to the owner of its folder (user {uid}): a gateway that runs as \
                 that one can't read it until you do"
            );
            Ok(())
        }
        given => given,
    }
}

/// A second name for what is there, in place of an earlier one of that name.
fn keep(target: &Path, suffix: &str) -> io::Result<()> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    let kept = target.with_file_name(name);
    let unfinished = beside(&kept)?;
    match fs::hard_link(target, &unfinished) {
        Ok(()) => fs::rename(&unfinished, &kept),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A file system without second names.
        Err(_) => {
            let copied = fs::copy(target, &unfinished)
                .and_then(|_| File::open(&unfinished)?.sync_all())
                .and_then(|()| fs::rename(&unfinished, &kept));
            copied.inspect_err(|_| drop(fs::remove_file(&unfinished)))
        }
    }
}

/// A name beside a file that nobody guesses.
fn beside(file: &Path) -> io::Result<PathBuf> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut name = name.to_owned();
    name.push(secret::identifier(".", &mut OsRng));
    name.push(UNFINISHED);
    Ok(file.with_file_name(name))
}

fn sync_folder(file: &Path) -> io::Result<()> {
    File::open(folder_of(file))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_takes_the_place_of_another_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("f");
        place(&target, b"one", None).unwrap();
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (staged, mut out) = StagedFile::create(&target).unwrap();
        out.write_all(b"half").unwrap();
        drop((staged, out));
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert_eq!(names(folder.path()), ["f"]);
        for (text, before) in [(&b"two"[..], &b"one"[..]), (b"three", b"two")] {
            place(&target, text, Some(".replaced")).unwrap();
            assert_eq!(fs::read(&target).unwrap(), text);
            let kept = fs::read(folder.path().join("f.replaced")).unwrap();
            assert_eq!(kept, before);
            assert_eq!(names(folder.path()), ["f", "f.replaced"]);
        }
        assert!(!place_new(&target, b"four").unwrap());
        assert_eq!(fs::read(&target).unwrap(), b"three");
        assert!(place_new(&folder.path().join("g"), b"five").unwrap());
        assert_eq!(names(folder.path()), ["f", "f.replaced", "g"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("f");
        for name in ["f", "f.abc.new", "f.replaced", "g.abc.new", "f2.abc.new"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink(&target, folder.path().join("f.link.new")).unwrap();
        remove_unfinished(&target).unwrap();
        let left = ["f", "f.link.new", "f.replaced", "f2.abc.new", "g.abc.new"];
        assert_eq!(names(folder.path()), left);
    }

    #[test]
    fn somebody_always_has_the_place() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("f");
        place(&target, b"0", None).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert!(fs::read(&target).is_ok_and(|text| text.len() == 1));
                }
            });
            for round in 0..300 {
                let text = [b'0' + round as u8 % 10];
                place(&target, &text, Some(".replaced")).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn what_somebody_laid_beside_a_file_is_neither_followed_nor_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (target, other) = (folder.path().join("f"), folder.path().join("other"));
        fs::write(&other, "theirs").unwrap();
        // Under the names of earlier versions, which everybody could guess.
        let process = std::process::id();
        for name in [format!("f.{process}.new"), format!("{process}.new")] {
            std::os::unix::fs::symlink(&other, folder.path().join(name)).unwrap();
        }
        place(&target, b"mine", None).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"theirs");
        assert!(!fs::symlink_metadata(&target).unwrap().is_symlink());
    }

    #[test]
    fn folders_are_their_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        make_folder(&inner).unwrap();
        make_folder(&inner).unwrap();
        let mode = fs::metadata(&inner).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // Root, who makes a folder for somebody else.
        if rustix::process::geteuid().is_root() {
            chown(folder.path(), Some(12345), Some(12345)).unwrap();
            let theirs = folder.path().join("c/d");
            make_folder(&theirs).unwrap();
            place(&theirs.join("f"), b"x", None).unwrap();
            for path in [folder.path().join("c"), theirs.clone(), theirs.join("f")] {
                let owner = fs::metadata(&path).unwrap();
                assert_eq!((owner.uid(), owner.gid()), (12345, 12345), "{path:?}");
            }
        }
    }
}
