//! The files of the log: the one that is appended to, and those that were rotated away, numbered
//! upwards. What a crash left is mended when the file is opened.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gateway_core::audit::{Head, Line};

/// The longest line that is looked for at the end of a file.
const LONGEST_LINE: u64 = 8 * 1024 * 1024;

/// The log can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}", path = .path.display())]
pub struct OpenError {
    /// Which file.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

/// How a file ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is empty, or new.
    Empty,
    /// With a whole line; `torn` bytes of an unfinished one were cut off.
    Whole {
        /// That line's place.
        head: Head,
        /// How many bytes were cut off.
        torn: u64,
    },
    /// With something that is no line of an audit log.
    Damaged,
}

/// The file that is appended to.
#[derive(Debug)]
pub(super) struct CurrentFile {
    path: PathBuf,
    file: File,
    length: u64,
    /// When it was made, as far as the system knows.
    began: SystemTime,
}

impl CurrentFile {
    /// Opens or creates it, readable by its owner only, and looks at its end.
    pub(super) fn open(path: &Path) -> io::Result<(Self, End)> {
        fs::create_dir_all(folder_of(path))?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        lock(&file)?;
        sync_folder(path)?;
        let end = end(&mut file)?;
        let metadata = file.metadata()?;
        let began = metadata.created().or_else(|_| metadata.modified())?;
        let length = metadata.len();
        let current = Self {
            path: path.to_owned(),
            file,
            length,
            began,
        };
        Ok((current, end))
    }

    /// How long ago it was begun; nothing, where a clock jumped back.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.began).unwrap_or_default()
    }

    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Appends bytes, all or none: what a failed write left is cut off again.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                let _ = self.file.set_len(self.length);
                Err(error)
            }
        }
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Moves the file to the next number, and begins a new one.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        let numbered = numbered(&self.path)?;
        let next = numbered.last().map_or(1, |(number, _)| number + 1);
        fs::rename(&self.path, with_number(&self.path, next))?;
        let (current, _) = Self::open(&self.path)?;
        *self = current;
        Ok(())
    }
}

/// Keeps the file to this process for as long as it has it open: two writers would break the chain.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another gateway writes to it: each needs a file of its own",
        )),
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Removes the oldest of the rotated files: those beyond `keep`, and those whose last line is from before
/// `oldest`. The newest stays: it says where the chain stands. At one that can't be removed it stops, since
/// without those after it the chain would have a gap; the error names it.
pub(super) fn prune(path: &Path, keep: usize, oldest: Option<SystemTime>) -> io::Result<()> {
    let numbered = numbered(path)?;
    let surplus = numbered.len().saturating_sub(keep.max(1));
    let Some((_, older)) = numbered.split_last() else {
        return Ok(());
    };
    for (at, (_, path)) in older.iter().enumerate() {
        match remove(path, at < surplus, oldest) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            // Somebody else removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let sentence = format!("{}: {error}", path.display());
                return Err(io::Error::new(error.kind(), sentence));
            }
        }
    }
    Ok(())
}

/// Removes a file that is one too many, or from before `oldest`; `false` where it is neither.
fn remove(path: &Path, is_surplus: bool, oldest: Option<SystemTime>) -> io::Result<bool> {
    let is_due = match oldest {
        _ if is_surplus => true,
        Some(oldest) => fs::metadata(path)?.modified()? < oldest,
        None => false,
    };
    if is_due {
        fs::remove_file(path)?;
    }
    Ok(is_due)
}

/// Where the chain stands at the end of the newest rotated file: a crash between the end of one file
/// and the first line of the next leaves the current one empty.
pub(super) fn rotated_head(path: &Path) -> io::Result<Option<Head>> {
    let Some((_, newest)) = numbered(path)?.pop() else {
        return Ok(None);
    };
    let end = end(&mut File::open(newest)?);
    Ok(match end {
        Ok(End::Whole { head, .. }) => Some(head),
        Ok(End::Empty | End::Damaged) | Err(_) => None,
    })
}

/// All files of the log at `path`, oldest first, the current one last.
pub fn in_order(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = numbered(path)?.into_iter().map(|(_, path)| path).collect();
    if path.exists() {
        files.push(path.to_owned());
    }
    Ok(files)
}

/// Files by the log that they belong to, each log's in the order given: a number at the end of a
/// name tells no logs apart.
pub fn logs(files: &[PathBuf]) -> Vec<(PathBuf, Vec<PathBuf>)> {
    let mut logs: Vec<(PathBuf, Vec<PathBuf>)> = Vec::new();
    for file in files {
        let log = match without_number(&name(file)) {
            Some((log, _)) => file.with_file_name(log),
            None => file.clone(),
        };
        match logs.iter_mut().find(|(known, _)| *known == log) {
            Some((_, files)) => files.push(file.clone()),
            None => logs.push((log, vec![file.clone()])),
        }
    }
    logs
}

/// The files of all logs in a folder and below it, of each log the oldest first.
pub fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    /// No collection of logs is deeper.
    const DEPTH: usize = 16;
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), DEPTH)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let metadata = fs::metadata(&path)?;
            if metadata.is_dir() && depth > 0 {
                folders.push((path, depth - 1));
            } else if metadata.is_file()
                && let Some(place) = place_in_log(&path)
            {
                found.push((place, path));
            }
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The log that a file called `….jsonl` or `….jsonl.NUMBER` is of, and its place in it: the one without a
/// number is the last.
fn place_in_log(path: &Path) -> Option<(PathBuf, u64)> {
    let name = name(path);
    if name.ends_with(".jsonl") {
        return Some((path.to_owned(), u64::MAX));
    }
    let (log, number) = without_number(&name)?;
    log.ends_with(".jsonl")
        .then(|| Some((path.with_file_name(log), number.parse().ok()?)))?
}

/// The name of a rotated file in two parts: that of its log, and its number.
fn without_number(name: &str) -> Option<(&str, &str)> {
    let is_number = |end: &str| end.len() >= 6 && end.bytes().all(|b| b.is_ascii_digit());
    name.rsplit_once('.').filter(|(_, end)| is_number(end))
}

/// Looks at the last line. Bytes after it were being written when the process ended: they were
/// never acknowledged, and are cut off.
fn end(file: &mut File) -> io::Result<End> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(End::Empty);
    }
    let from = length.saturating_sub(LONGEST_LINE);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(LONGEST_LINE).read_to_end(&mut tail)?;
    let Some(feed) = tail.iter().rposition(|byte| *byte == b'\n') else {
        // One torn line alone, or no log at all.
        if from == 0 && tail.starts_with(b"{\"chain\":") {
            file.set_len(0)?;
            return Ok(End::Empty);
        }
        return Ok(End::Damaged);
    };
    let start = tail[..feed]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = std::str::from_utf8(&tail[start..feed])
        .ok()
        .and_then(|text| Line::parse(text).ok());
    let Some(line) = line else {
        return Ok(End::Damaged);
    };
    let torn = (tail.len() - feed - 1) as u64;
    if torn > 0 {
        file.set_len(length - torn)?;
        file.sync_data()?;
    }
    let head = line.place.head;
    Ok(End::Whole { head, torn })
}

/// The rotated files, lowest number first.
fn numbered(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let prefix = format!("{}.", name(path));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| {
            let digits = name.strip_prefix(&prefix)?;
            (digits.len() >= 6).then(|| digits.parse::<u64>().ok())?
        });
        if let Some(number) = number {
            files.push((number, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

fn with_number(path: &Path, number: u64) -> PathBuf {
    path.with_file_name(format!("{}.{number:06}", name(path)))
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Where a file is.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}
