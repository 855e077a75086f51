//! What is inside of a backup: lines of JSON. The first says what it is, the last that nothing is missing;
//! between them are the keys, then the rows of the store.
//!
//! ```json
//! {"gateway_backup":1,"written_by":"gateway 0.1.0","made":"2026-11-30T12:00:00Z","store":"embedded",…}
//! {"key":{"name":"signing-1.key","text":"…"}}
//! {"row":{"entry":{"table":"user","key":"alice","value":"{…}"}}}
//! {"end":{"keys":3,"counts":{…}}}
//! ```

use std::io::{self, BufRead, Read as _, Write};

use serde::{Deserialize, Serialize};

use gateway_core::clock::Timestamp;
use gateway_store::{BackupCounts, BackupHead, BackupRow};

/// The form that this program writes. It reads all up to it.
pub const FORMAT: u32 = 1;
/// What this program calls itself.
pub const PROGRAM: &str = concat!("gateway ", env!("CARGO_PKG_VERSION"));
/// No line is longer.
const LONGEST: u64 = 64 * 1024 * 1024;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The form of the lines.
    pub gateway_backup: u32,
    /// The program that wrote it, with its version.
    pub written_by: String,
    /// When it was made, in RFC 3339.
    pub made: String,
    /// What the store was.
    pub store: StoreKind,
    /// What it holds of an embedded store.
    pub embedded: Option<Embedded>,
}

/// The kind of store that a gateway has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// A file in the state folder, whose rows follow.
    Embedded,
    /// Redis, which is backed up by its own means.
    Redis,
    /// One that forgets everything when the gateway ends.
    Memory,
}

/// What is said of an embedded store before its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedded {
    /// What the store says.
    pub head: BackupHead,
    /// Of what was given before this moment, nothing is missing.
    pub complete_until: Timestamp,
}

/// A file of the keys folder.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Never the text.
impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyFile")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A line after the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A file of the keys folder.
    Key(KeyFile),
    /// Something that the store keeps.
    Row(BackupRow),
    /// The end, and what there was.
    End(Totals),
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Files of the keys folder.
    pub keys: u64,
    /// Rows of the store.
    pub counts: BackupCounts,
}

impl Totals {
    fn count(&mut self, line: &Line) {
        match line {
            Line::Key(_) => self.keys += 1,
            Line::Row(row) => self.counts.count(row),
            Line::End(_) => {}
        }
    }
}

/// Why a backup can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Reading it failed, or it was damaged.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A later version wrote it.
    #[error(
        "{written_by} wrote it, in format {format}; this is {PROGRAM}, which reads formats up to {FORMAT}: restore it with that version or a later one"
    )]
    Newer {
        /// Its format.
        format: u32,
        /// The program that wrote it.
        written_by: String,
    },
    /// It is not of the form.
    #[error("what is in it is no backup of a gateway: {0}")]
    Malformed(&'static str),
}

/// Writes the lines.
pub struct Writer<W> {
    out: W,
    totals: Totals,
}

impl<W: Write> Writer<W> {
    /// Begins with the first line.
    pub fn new(mut out: W, head: &Head) -> io::Result<Self> {
        write_line(&mut out, head)?;
        Ok(Self {
            out,
            totals: Totals::default(),
        })
    }

    /// Adds a line.
    pub fn add(&mut self, line: &Line) -> io::Result<()> {
        self.totals.count(line);
        write_line(&mut self.out, line)
    }

    /// Writes the last line; what was written to, and what is in it.
    pub fn finish(mut self) -> io::Result<(W, Totals)> {
        write_line(&mut self.out, &Line::End(self.totals))?;
        Ok((self.out, self.totals))
    }
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
    text.push(b'\n');
    out.write_all(&text)
}

/// Reads the lines.
pub struct Reader<R> {
    from: R,
    totals: Totals,
    is_over: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    pub fn new(mut from: R) -> Result<(Self, Head), ArchiveError> {
        #[derive(Deserialize)]
        struct Form {
            gateway_backup: u32,
            written_by: Option<String>,
        }
        const WRONG: ArchiveError = ArchiveError::Malformed("its first line is another");
        let line = read_line(&mut from)?.ok_or(WRONG)?;
        let form: Form = serde_json::from_slice(&line).map_err(|_| WRONG)?;
        if form.gateway_backup > FORMAT {
            let plain = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
            let program = form.written_by.unwrap_or_else(|| "a program".to_owned());
            return Err(ArchiveError::Newer {
                format: form.gateway_backup,
                written_by: program.chars().take(60).map(plain).collect(),
            });
        }
        let head = serde_json::from_slice(&line).map_err(|_| WRONG)?;
        let reader = Self {
            from,
            totals: Totals::default(),
            is_over: false,
        };
        Ok((reader, head))
    }

    /// The next line; `None` after the last, once it is sure that all of them were there.
    pub fn read(&mut self) -> Result<Option<Line>, ArchiveError> {
        let missing = ArchiveError::Malformed("its end is missing");
        let Some(text) = read_line(&mut self.from)? else {
            return if self.is_over { Ok(None) } else { Err(missing) };
        };
        if self.is_over {
            return Err(ArchiveError::Malformed("it goes on after its end"));
        }
        let line: Line = serde_json::from_slice(&text)
            .map_err(|_| ArchiveError::Malformed("a line is of another form"))?;
        if let Line::End(totals) = &line {
            if *totals != self.totals {
                return Err(ArchiveError::Malformed("lines are missing"));
            }
            self.is_over = true;
            return self.read();
        }
        self.totals.count(&line);
        Ok(Some(line))
    }

    /// What was read so far.
    pub const fn totals(&self) -> Totals {
        self.totals
    }
}

fn read_line(from: &mut impl BufRead) -> Result<Option<Vec<u8>>, ArchiveError> {
    let mut line = Vec::new();
    from.take(LONGEST).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(ArchiveError::Malformed("a line is cut short")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            gateway_backup: FORMAT,
            written_by: PROGRAM.to_owned(),
            made: "2026-11-30T12:00:00Z".to_owned(),
            store: StoreKind::Embedded,
            embedded: None,
        }
    }

    fn written() -> String {
        let mut writer = Writer::new(Vec::new(), &head()).unwrap();
        let key = Line::Key(KeyFile {
            name: "tags.key".to_owned(),
            text: "secret\n".to_owned(),
        });
        writer.add(&key).unwrap();
        let row = BackupRow::Revocation {
            number: 1,
            id: "g_1".to_owned(),
            expires: Timestamp::from_secs(1),
        };
        writer.add(&Line::Row(row)).unwrap();
        String::from_utf8(writer.finish().unwrap().0).unwrap()
    }

    fn read(text: &str) -> Result<Totals, String> {
        let read = || -> Result<Totals, ArchiveError> {
            let (mut reader, _) = Reader::new(text.as_bytes())?;
            while reader.read()?.is_some() {}
            Ok(reader.totals())
        };
        read().map_err(|error| error.to_string())
    }

    #[test]
    fn an_archive_is_whole_or_refused() {
        let text = written();
        let totals = read(&text).unwrap();
        assert_eq!((totals.keys, totals.counts.revocations), (1, 1));
        let lines: Vec<&str> = text.lines().collect();
        for missing in 0..lines.len() {
            let rest: String = lines
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != missing)
                .map(|(_, line)| format!("{line}\n"))
                .collect();
            assert!(read(&rest).is_err(), "without line {missing}");
        }
        assert!(read(&text[..text.len() - 1]).is_err());
        assert!(read(&format!("{text}{}\n", lines[1])).is_err());
    }

    #[test]
    fn one_of_a_later_form_says_who_wrote_it() {
        let text = "{\"gateway_backup\":2,\"written_by\":\"gateway 9.0.0\",\"other\":1}\n";
        let error = read(text).unwrap_err();
        assert!(
            error.contains("gateway 9.0.0") && error.contains("format 2"),
            "{error}"
        );
        assert!(read("{}\n").unwrap_err().contains("no backup"));
    }

    #[test]
    fn no_key_is_printed() {
        let key = KeyFile {
            name: "tags.key".to_owned(),
            text: "secret".to_owned(),
        };
        assert!(!format!("{key:?}").contains("secret"));
    }
}
