//! Files that take the place of others: written beside them, made durable, and moved in one step, so that
//! whoever looks sees the old one or the whole new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file that is being written. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct StagedFile {
    target: PathBuf,
    staged: PathBuf,
    is_given: bool,
    is_placed: bool,
}

impl StagedFile {
    /// A name beside `target` that nothing has, for whoever writes the file by other means.
    pub fn reserve(target: &Path) -> io::Result<Self> {
        let mut name = target
            .file_name()
            .ok_or(io::ErrorKind::InvalidFilename)?
            .to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let staged = target.with_file_name(name);
        // What a program of the same number left that was killed.
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            target: target.to_owned(),
            staged,
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
    /// beside it.
    pub fn place(mut self, keep_as: Option<&str>) -> io::Result<()> {
        File::open(&self.staged)?.sync_all()?;
        let folder = folder_of(&self.target);
        if self.is_given && rustix::process::geteuid().is_root() {
            let owner = fs::metadata(folder)?;
            std::os::unix::fs::chown(&self.staged, Some(owner.uid()), Some(owner.gid()))?;
        }
        if let Some(suffix) = keep_as
            && self.target.exists()
        {
            let mut name = self.target.file_name().unwrap_or_default().to_owned();
            name.push(suffix);
            fs::rename(&self.target, self.target.with_file_name(name))?;
        }
        fs::rename(&self.staged, &self.target)?;
        self.is_placed = true;
        File::open(folder)?.sync_all()
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
    let (staged, mut out) = StagedFile::create(target)?;
    out.write_all(text)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    staged.for_owner_of_folder().place(keep_as)
}

/// The folder that a file is in.
pub fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_takes_the_place_of_another_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("f");
        let names = || -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        place(&target, b"one", None).unwrap();
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (staged, mut out) = StagedFile::create(&target).unwrap();
        out.write_all(b"half").unwrap();
        drop((staged, out));
        assert_eq!(fs::read(&target).unwrap(), b"one");
        assert_eq!(names(), ["f"]);
        place(&target, b"two", Some(".replaced")).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(fs::read(folder.path().join("f.replaced")).unwrap(), b"one");
        assert_eq!(names(), ["f", "f.replaced"]);
    }
}
