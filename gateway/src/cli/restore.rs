//! `gateway restore`: a backup, put back in place of what is there. The gateway must not run meanwhile.

use std::fmt::Display;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::backup::counted;
use crate::backup::age::Decryptor;
use crate::backup::archive::{
    Embedded as InArchive, Head, KeyFile, Line, Reader, StoreKind, Totals,
};
use crate::backup::keys_folder::{self, REPLACED};
use crate::backup::staging::{self, StagedFile};
use crate::cli::failed::Failed;
use crate::cli::operator::passwords::PassphraseSource;
use crate::cli::operator::{Running, things};
use crate::config::Config;
use gateway_core::clock::{Clock, Timestamp};
use gateway_store::{
    BackupRow, Connections, Embedded, OpenError, PresentStore, RestoredStore, StorePlace, StoreUrl,
};

/// How long tokens are refused that were given after the backup: longer than any lives.
const LONGEST_TOKEN: Duration = Duration::from_secs(400 * 24 * 3600);
/// Rows that are taken in together.
const TOGETHER: usize = 1_000;

/// What `gateway restore` is told.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// Replace the store and the keys that are there; they are kept beside the new ones, as NAME.replaced
    #[arg(long)]
    overwrite: bool,
    /// Where nothing here knows what was taken back since the backup: what people allowed is good as it was
    /// then, also what they took back since
    #[arg(long, conflicts_with = "end_connections")]
    keep_connections: bool,
    /// Take back all that people allowed: everybody connects their apps anew
    #[arg(long)]
    end_connections: bool,
    /// Read it to its end, say what is in it, and change nothing
    #[arg(long, conflicts_with_all = ["overwrite", "keep_connections", "end_connections"])]
    check: bool,
    #[command(flatten)]
    running: Running,
}

pub(super) fn run(restore: &Restore) -> Result<ExitCode, Failed> {
    if restore.check {
        restore.check()?;
    } else {
        restore.restore(&restore.running.resolve()?)?;
    }
    Ok(ExitCode::SUCCESS)
}

type Archive = Reader<BufReader<Decryptor<BufReader<File>>>>;

/// What became of connections: [`Connections`] without the store.
#[derive(Clone, Copy)]
enum Fate {
    Since,
    Kept,
    Ended,
}

impl Restore {
    fn open(&self) -> Result<(Archive, Head), Failed> {
        let file = File::open(&self.file).map_err(|error| self.refused(error))?;
        let passphrase = self.passphrase.known()?;
        let decryptor = Decryptor::new(BufReader::new(file), &passphrase)
            .map_err(|error| self.refused(error))?;
        Reader::new(BufReader::new(decryptor)).map_err(|error| self.refused(error))
    }

    fn refused(&self, error: impl Display) -> Failed {
        Failed::unknown(format!("{}: {error}", self.file.display()))
    }

    fn next(&self, archive: &mut Archive) -> Result<Option<Line>, Failed> {
        archive.read().map_err(|error| self.refused(error))
    }

    fn check(&self) -> Result<(), Failed> {
        let (mut archive, head) = self.open()?;
        while let Some(line) = self.next(&mut archive)? {
            if let Line::Row(row) = &line {
                RestoredStore::can_take(row).map_err(|error| self.refused(error))?;
            }
        }
        let file = self.file.display();
        println!("{file}: whole, made {} by {}", head.made, head.written_by);
        println!("{}", inside(&head, archive.totals()));
        Ok(())
    }

    fn restore(&self, config: &Config) -> Result<(), Failed> {
        let (mut archive, head) = self.open()?;
        let folder = match (&config.store, &head.embedded) {
            (StoreUrl::Folder(folder), Some(embedded)) => Some((folder, embedded)),
            (StoreUrl::Redis(_), None) if head.store == StoreKind::Redis => None,
            (StoreUrl::Memory, None) if head.store == StoreKind::Memory => None,
            _ => {
                return Err(self.refused(format!(
                    "it is of a gateway whose store was {}, and `store.url` names another kind",
                    kind(head.store)
                )));
            }
        };
        let present = folder.map(|(folder, _)| self.present(folder)).transpose()?;
        let (keys, row) = self.keys(&mut archive)?;
        let missing =
            keys_folder::missing(&config.keys_dir, &keys).map_err(|error| self.refused(error))?;
        if let Some((file, _)) = missing.iter().find(|(_, is_other)| *is_other)
            && !self.overwrite
        {
            return Err(Failed::unknown(format!(
                "{} is there, with another key: nothing was changed. To replace it: --overwrite",
                config.keys_dir.join(&file.name).display()
            )));
        }
        let staged = match (folder, present) {
            (Some((_, embedded)), Some((place, present))) => {
                let connections = self.chosen(embedded, present, &head)?;
                Some(self.store(&mut archive, row, embedded, place, connections)?)
            }
            _ => {
                while self.next(&mut archive)?.is_some() {}
                None
            }
        };
        keys_folder::write(&config.keys_dir, &missing).map_err(half_restored)?;
        let fate = match staged {
            None => None,
            Some(staged) => {
                staged.file.place(Some(REPLACED)).map_err(half_restored)?;
                // A token that is given from now on is dated after those that are refused.
                let wait = staged.until.since(Clock.now());
                std::thread::sleep(wait.min(Duration::from_secs(2)));
                Some(staged.fate)
            }
        };
        tell(&head, archive.totals(), fate);
        Ok(())
    }

    /// The place of the store, in which no gateway starts from now on, and the store that is there.
    fn present(&self, folder: &Path) -> Result<(StorePlace, Option<PresentStore>), Failed> {
        let unusable = |error: OpenError| match error {
            OpenError::InUse(_) => Failed::unavailable(format!(
                "a gateway is using the state folder {}: stop it first",
                folder.display()
            )),
            error => failed_in(folder, error),
        };
        staging::make_folder(folder).map_err(|error| failed_in(folder, error))?;
        let place = StorePlace::take(folder).map_err(unusable)?;
        let is_there = Embedded::is_in(folder);
        let opened = match PresentStore::open(&place) {
            Err(error @ OpenError::InUse(_)) => return Err(unusable(error)),
            opened => opened,
        };
        if is_there && !self.overwrite {
            return Err(Failed::unknown(format!(
                "there is a store in {}: nothing was changed. To replace it: --overwrite",
                folder.display()
            )));
        }
        match opened {
            Ok(present) => Ok((place, present)),
            Err(error) => {
                eprintln!("note: {error}; it is replaced");
                Ok((place, None))
            }
        }
    }

    /// The keys of the backup, and what came after them.
    fn keys(&self, archive: &mut Archive) -> Result<(Vec<KeyFile>, Option<BackupRow>), Failed> {
        let mut keys = Vec::new();
        loop {
            match self.next(archive)? {
                Some(Line::Key(key)) => keys.push(key),
                Some(Line::Row(row)) => return Ok((keys, Some(row))),
                Some(Line::End(_)) | None => return Ok((keys, None)),
            }
        }
    }

    /// What becomes of connections. Where nobody knows what was taken back since, somebody has to say it.
    fn chosen(
        &self,
        embedded: &InArchive,
        present: Option<PresentStore>,
        head: &Head,
    ) -> Result<Connections, Failed> {
        if self.end_connections {
            return Ok(Connections::Ended(present));
        }
        if self.keep_connections {
            return Ok(Connections::Kept(present));
        }
        match present {
            Some(present)
                if present
                    .continues(&embedded.head, embedded.complete_until)
                    .unwrap_or(false) =>
            {
                Ok(Connections::Since(present))
            }
            _ => Err(Failed::usage(format!(
                "what was taken back after {} is not known here, where the store of that time is not, or was put back to an earlier one. Choose:\n  \
                 --end-connections   people and apps are restored, and everybody allows their apps anew\n  \
                 --keep-connections  what people allowed is good as it was then, also what was taken back since:\n                      \
                 take it back again (in the audit log: gateway audit export --since {})",
                head.made, head.made
            ))),
        }
    }

    /// Makes the store, beside the one that is there.
    fn store(
        &self,
        archive: &mut Archive,
        first: Option<BackupRow>,
        embedded: &InArchive,
        place: StorePlace,
        connections: Connections,
    ) -> Result<StagedStore, Failed> {
        let folder = place.folder().to_owned();
        let fate = match &connections {
            Connections::Since(_) => Fate::Since,
            Connections::Kept(_) => Fate::Kept,
            Connections::Ended(_) => Fate::Ended,
        };
        let target = Embedded::file_in(&folder);
        // No gateway and no other restore is at work while the place is held.
        staging::remove_unfinished(&target).map_err(|error| failed_in(&folder, error))?;
        let file = StagedFile::reserve(&target)
            .map_err(|error| failed_in(&folder, error))?
            .for_owner_of_folder();
        let now = Clock.now();
        let store = RestoredStore::create(file.path(), connections, now)
            .map_err(|error| failed_in(&folder, error))?;
        let mut rows: Vec<BackupRow> = first.into_iter().collect();
        loop {
            let line = self.next(archive)?;
            let is_over = line.is_none();
            match line {
                Some(Line::Row(row)) => rows.push(row),
                Some(_) => return Err(self.refused("a key stands among the rows")),
                None => {}
            }
            if is_over || rows.len() >= TOGETHER {
                store
                    .add(&rows)
                    .map_err(|error| failed_in(&folder, error))?;
                rows.clear();
            }
            if is_over {
                break;
            }
        }
        let since = embedded.complete_until;
        let until = Timestamp::from_secs(Clock.now().max(since).secs() + 1);
        store
            .finish(&embedded.head, since, until, until + LONGEST_TOKEN)
            .map_err(|error| failed_in(&folder, error))?;
        Ok(StagedStore {
            file,
            fate,
            until,
            _place: place,
        })
    }
}

fn half_restored(error: impl Display) -> Failed {
    let sentence = format!("{error}: what is there may be half restored; run this again");
    Failed::unavailable(sentence)
}

fn failed_in(folder: &Path, error: impl Display) -> Failed {
    Failed::unavailable(format!("{}: {error}", folder.display()))
}

/// A store that is about to take the place of the one that is there.
struct StagedStore {
    file: StagedFile,
    fate: Fate,
    /// Tokens that were given before are refused.
    until: Timestamp,
    /// As long as it is held, no gateway starts in it.
    _place: StorePlace,
}

const fn kind(store: StoreKind) -> &'static str {
    match store {
        StoreKind::Embedded => "a file (`file:DIR`)",
        StoreKind::Redis => "Redis",
        StoreKind::Memory => "in memory",
    }
}

fn inside(head: &Head, totals: Totals) -> String {
    let keys = things(totals.keys, "file of keys", "files of keys");
    match head.embedded {
        Some(_) => format!("{}; {keys}", counted(&totals)),
        None => format!("{keys}; the store was {}", kind(head.store)),
    }
}

fn tell(head: &Head, totals: Totals, fate: Option<Fate>) {
    println!("restored as of {}: {}", head.made, inside(head, totals));
    let Some(fate) = fate else {
        println!("Redis is restored by its own means.");
        return;
    };
    let since = &head.made;
    match fate {
        Fate::Since => println!(
            "What was taken back since then stays taken back. Connections that were made since are gone."
        ),
        Fate::Kept => println!(
            "What was taken back since then is good again. Take it back anew; the audit log has it, where it \
             is kept: gateway audit export --since {since}\nConnections that were made since are gone."
        ),
        Fate::Ended => println!("All connections are ended: everybody allows their apps anew."),
    }
    println!(
        "Access tokens that were given since then are refused; apps with refresh tokens renew them.\n\
         People log in again. Who was added, removed, disabled or got another password since is as they were then."
    );
}
