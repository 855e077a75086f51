//! `gateway backup`: what a gateway keeps, with its keys, into one encrypted file, while it runs or not.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use rand::rngs::OsRng;
use tokio::runtime::Runtime;

use crate::backup::age::{self, Encryptor};
use crate::backup::archive::{
    Embedded as InArchive, FORMAT, Head, Line, PROGRAM, StoreKind, Totals, Writer,
};
use crate::backup::keys_folder;
use crate::backup::staging::StagedFile;
use crate::cli::failed::Failed;
use crate::cli::operator::passwords::PassphraseSource;
use crate::cli::operator::{Gateway, Running, things};
use crate::cli::runtime;
use crate::config::Config;
use crate::operator_api::{BackupPageQuery, BeginBackup, Nothing, ReadBackup};
use gateway_core::clock::{Clock, Timestamp};
use gateway_store::{BackupRow, Embedded, OpenError, Store as _, StoreBackup, StoreUrl};

/// What `gateway backup` is told.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The file to write, readable by its owner alone. A backup that is there is replaced once the new one is
    /// whole
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseSource,
    #[command(flatten)]
    running: Running,
}

pub(super) fn run(backup: &Backup) -> Result<ExitCode, Failed> {
    backup.make(&backup.running.resolve()?)?;
    Ok(ExitCode::SUCCESS)
}

impl Backup {
    fn make(&self, config: &Config) -> Result<(), Failed> {
        refuse_other(&self.file)?;
        let keys = keys_folder::read(&config.keys_dir).map_err(Failed::unavailable)?;
        if keys.is_empty() {
            let folder = config.keys_dir.display();
            return Err(Failed::unavailable(format!(
                "{folder} holds no keys: name the configuration that the gateway runs with (--config)"
            )));
        }
        let passphrase = self.passphrase.new_one()?;
        let mut source = Source::open(config)?;
        let written = |error| Failed::unavailable(format!("{}: {error}", self.file.display()));
        let (staged, out) = StagedFile::create(&self.file).map_err(written)?;
        let out = Encryptor::new(out, &passphrase, &mut OsRng).map_err(written)?;
        let mut archive = Writer::new(out, &source.head()).map_err(written)?;
        for key in keys {
            archive.add(&Line::Key(key)).map_err(written)?;
        }
        loop {
            let rows = source.next()?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                archive.add(&Line::Row(row)).map_err(written)?;
            }
        }
        let (out, totals) = archive.finish().map_err(written)?;
        let mut out: BufWriter<File> = out.finish().map_err(written)?;
        out.flush().map_err(written)?;
        staged.place(None).map_err(written)?;
        self.tell(&source, totals);
        Ok(())
    }

    fn tell(&self, source: &Source, totals: Totals) {
        let file = self.file.display();
        let keys = things(totals.keys, "file of keys", "files of keys");
        match source.store {
            StoreKind::Redis => println!(
                "{file}: {keys}. The rest is in Redis, and backed up by Redis' own means (an append-only file, \
                 snapshots): keep the two together, neither is good for anything alone"
            ),
            StoreKind::Memory => {
                println!("{file}: {keys}. This store forgets all else when the gateway ends")
            }
            StoreKind::Embedded => println!("{file}: {}; {keys}", counted(&totals)),
        }
        let begun = source.begun.iter();
        for name in begun.flat_map(|begun| &begun.head.left_out) {
            eprintln!(
                "note: a later version keeps {name:?} in this store, which is not in the backup: back up with that version"
            );
        }
    }
}

/// What there is of people, apps and connections.
pub(super) fn counted(totals: &Totals) -> String {
    let counts = totals.counts;
    [
        things(counts.users, "person", "people"),
        things(counts.clients, "registered app", "registered apps"),
        things(counts.grants, "connection", "connections"),
        things(counts.revocations, "revocation", "revocations"),
    ]
    .join(", ")
}

/// What is no backup is not written over.
fn refuse_other(file: &Path) -> Result<(), Failed> {
    let mut begin = Vec::new();
    match File::open(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(open) if open.metadata().is_ok_and(|metadata| metadata.is_file()) => {
            let length = age::VERSION.len() as u64;
            let _ = open.take(length).read_to_end(&mut begin);
        }
        _ => {}
    }
    if begin == age::VERSION.as_bytes() {
        return Ok(());
    }
    Err(Failed::unknown(format!(
        "{} is there and no backup: it is not written over",
        file.display()
    )))
}

/// What is backed up.
struct Source {
    store: StoreKind,
    /// What is said before the rows, where there are any.
    begun: Option<InArchive>,
    rows: Rows,
}

/// Where rows come from.
enum Rows {
    /// A gateway that runs.
    Running {
        gateway: Gateway,
        id: String,
        page: u64,
    },
    /// The file of one that does not. While it is read, none starts.
    Resting {
        runtime: Runtime,
        backup: Box<StoreBackup>,
        _store: Embedded,
    },
    /// A store that is not in the backup.
    Nothing,
}

impl Source {
    fn open(config: &Config) -> Result<Self, Failed> {
        let nothing_of = |store| Self {
            store,
            begun: None,
            rows: Rows::Nothing,
        };
        let folder = match &config.store {
            StoreUrl::Folder(folder) => folder,
            StoreUrl::Redis(_) => return Ok(nothing_of(StoreKind::Redis)),
            StoreUrl::Memory => return Ok(nothing_of(StoreKind::Memory)),
        };
        if !Embedded::is_in(folder) {
            return Err(Failed::unavailable(format!(
                "there is no store in {}: name the configuration that the gateway runs with (--config)",
                folder.display()
            )));
        }
        let (begun, rows) = match Embedded::open(folder) {
            Ok(store) => resting(store)?,
            Err(OpenError::InUse(_)) => running(Gateway::from_config(config)?)?,
            Err(error) => return Err(Failed::unavailable(error)),
        };
        Ok(Self {
            store: StoreKind::Embedded,
            begun: Some(begun),
            rows,
        })
    }

    fn head(&self) -> Head {
        Head {
            gateway_backup: FORMAT,
            written_by: PROGRAM.to_owned(),
            made: Clock.now().to_string(),
            store: self.store,
            embedded: self.begun.clone(),
        }
    }

    fn next(&mut self) -> Result<Vec<BackupRow>, Failed> {
        match &mut self.rows {
            Rows::Nothing => Ok(Vec::new()),
            Rows::Running { gateway, id, page } => {
                let query = BackupPageQuery {
                    id: id.clone(),
                    page: page.to_string(),
                };
                *page += 1;
                Ok(gateway.get::<ReadBackup>(&query)?.answer.rows)
            }
            Rows::Resting {
                runtime, backup, ..
            } => runtime.block_on(backup.next()).map_err(Failed::unavailable),
        }
    }
}

fn running(gateway: Gateway) -> Result<(InArchive, Rows), Failed> {
    let begun = gateway.post::<BeginBackup>(&Nothing {})?.answer;
    let rows = Rows::Running {
        gateway,
        id: begun.backup,
        page: 0,
    };
    let begun = InArchive {
        head: begun.head,
        complete_until: begun.complete_until,
    };
    Ok((begun, rows))
}

fn resting(store: Embedded) -> Result<(InArchive, Rows), Failed> {
    let runtime = runtime().map_err(Failed::unavailable)?;
    let backup = runtime
        .block_on(store.backup())
        .map_err(Failed::unavailable)?
        .ok_or_else(|| Failed::unavailable("this store can't be backed up"))?;
    if let Some(epoch) = &backup.head().epoch {
        std::thread::sleep(epoch.dates_truly_in(Clock.now()));
    }
    let begun = InArchive {
        head: backup.head().clone(),
        complete_until: Timestamp::from_secs(Clock.now().secs() + 1),
    };
    let rows = Rows::Resting {
        runtime,
        backup: Box::new(backup),
        _store: store,
    };
    Ok((begun, rows))
}
