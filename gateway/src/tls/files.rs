//! Certificate and key in files: read at the start, and again when they change or SIGHUP comes. What is
//! wrong with new ones leaves those in force that were good.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gateway_core::clock::{Clock, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::Tls;
use super::certificate::{Certificate, CertificateFault};
use super::notice::{self, Notice};
use super::settings::CertificateFiles;
use crate::config::{CertificateSource, Config};

/// How often it is looked whether the files changed.
const LOOKED: Duration = Duration::from_secs(5);

/// Why the files can't be served: the key of the one that is to be looked at, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum FileFault {
    /// The file system refused.
    #[error("`tls.{0}` {path}: {2}; let the gateway's user read it, or name another file", path = .1.display())]
    Io(&'static str, PathBuf, std::io::Error),
    /// What stands in it can't be served.
    #[error("`tls.{0}` {path} {2}", path = .1.display())]
    Content(&'static str, PathBuf, CertificateFault),
}

/// What changes when a file does: its inode, its size and the time of its last change.
type Fingerprint = [Option<(u64, u64, i64, i64)>; 2];

/// The certificate of the configuration, where it is one in files.
pub fn configured(config: &Config, now: Timestamp) -> Option<Result<Certificate, FileFault>> {
    match &config.tls.as_ref()?.source {
        CertificateSource::Files(files) => Some(files.load(now)),
        CertificateSource::Acme(_) => None,
    }
}

impl CertificateFiles {
    /// Reads and judges them.
    ///
    /// # Errors
    ///
    /// They can't be served; what to do about it.
    pub fn load(&self, now: Timestamp) -> Result<Certificate, FileFault> {
        let read = |key: &'static str, path: &Path| {
            std::fs::read(path).map_err(|error| FileFault::Io(key, path.to_owned(), error))
        };
        let chain = read("certificate_file", &self.certificate)?;
        let key = read("key_file", &self.key)?;
        Certificate::parse(&chain, &key, now).map_err(|fault| {
            let (key, path) = if fault.is_of_key() {
                ("key_file", &self.key)
            } else {
                ("certificate_file", &self.certificate)
            };
            FileFault::Content(key, path.clone(), fault)
        })
    }

    /// What is unsafe about them, or about this certificate in them, for clients of `host`.
    pub fn doubts(&self, certificate: &Certificate, host: &str) -> Vec<String> {
        let mode = std::fs::metadata(&self.key).map_or(0, |it| it.permissions().mode() & 0o777);
        let open = (mode & 0o007 != 0).then(|| {
            let key = self.key.display();
            format!("tls.key_file {key} can be read by everybody on this machine (mode {mode:o}): run chmod 600 {key}")
        });
        let names = &certificate.facts.names;
        let other = (!certificate.facts.covers(host)).then(|| {
            format!(
                "tls.certificate_file is for {}, and not for {host}, the host of public_url: clients that \
                 come here directly refuse it",
                if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
            )
        });
        open.into_iter().chain(other).collect()
    }

    /// Reads them, if that is asked for or they are not as they were `seen` the last time that they could be
    /// served; and what to give as `seen` the next time. After a fault that is nothing: it may end without a
    /// change of the files, as when the gateway gets the right to read them or a certificate's time comes.
    fn look(
        &self,
        seen: Option<Fingerprint>,
        is_asked: bool,
        now: Timestamp,
    ) -> (Option<Fingerprint>, Option<Result<Certificate, FileFault>>) {
        let found = self.fingerprint();
        if !is_asked && seen == Some(found) {
            return (seen, None);
        }
        let loaded = self.load(now);
        (loaded.is_ok().then_some(found), Some(loaded))
    }

    fn fingerprint(&self) -> Fingerprint {
        [&self.certificate, &self.key].map(|path| {
            let it = std::fs::metadata(path).ok()?;
            Some((it.ino(), it.size(), it.mtime(), it.mtime_nsec()))
        })
    }
}

/// Follows the files from now on: `first` was read from them, a while ago. What is notified of `again` has
/// them read whether or not they changed.
pub fn follow(
    runtime: &Handle,
    files: CertificateFiles,
    first: &Certificate,
    tls: &Tls,
    again: Arc<Notify>,
) {
    tls.served.replace(Arc::clone(&first.key));
    tls.status.serves(first.facts.clone());
    // The first look reads them in any case: they may have changed since `first` was read.
    let (tls, mut seen) = (tls.clone(), None);
    runtime.spawn(async move {
        let mut said = None;
        loop {
            let is_asked = tokio::select! {
                () = again.notified() => true,
                () = tokio::time::sleep(LOOKED) => false,
            };
            let files = files.clone();
            // Files may lie on a network.
            let looked =
                tokio::task::spawn_blocking(move || files.look(seen, is_asked, Clock.now()));
            let Ok((found, loaded)) = looked.await else {
                continue;
            };
            match loaded {
                Some(Ok(certificate)) => serve(&tls, &certificate, is_asked),
                Some(Err(fault)) => keep(&tls, &fault, is_asked),
                None => {}
            }
            seen = found;
            remind(&tls, &mut said);
        }
    });
}

/// An operator who asked is told that it is done; all others are told what is new.
fn serve(tls: &Tls, certificate: &Certificate, is_asked: bool) {
    tls.served.replace(Arc::clone(&certificate.key));
    let is_news = tls.status.serves(certificate.facts.clone());
    if !is_news && !is_asked {
        return;
    }
    let names = certificate.facts.names.join(", ");
    log::info!(
        event = "certificate_reloaded", names = names, ends = certificate.facts.ends.to_string();
        "the certificate was read anew"
    );
}

/// A program that writes both files has written one of them for a moment: what is wrong is told once, and
/// looked at again each time.
fn keep(tls: &Tls, fault: &FileFault, is_asked: bool) {
    let sentence = fault.to_string();
    if tls.status.fails(sentence.clone()) || is_asked {
        log::error!(event = "certificate_kept", fault = sentence; "the new certificate can't be served; the last good one is kept");
    }
}

/// Says in the log what is due of the end of what is served.
pub(super) fn remind(tls: &Tls, said: &mut Option<(Notice, Timestamp)>) {
    let now = Clock.now();
    let Some(facts) = tls.status.state().served else {
        return;
    };
    let Some(notice) = notice::due(&facts, *said, now) else {
        return;
    };
    *said = Some((notice, now));
    let (ends, names) = (facts.ends.to_string(), facts.names.join(", "));
    match notice {
        Notice::Ends => {
            log::warn!(event = "certificate_ends", ends = ends, names = names; "the certificate ends soon");
        }
        Notice::Ended => {
            log::error!(event = "certificate_ended", ends = ends, names = names; "the certificate has ended: no client connects before it is renewed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_could_not_be_served_are_read_again_though_they_did_not_change() {
        let folder = tempfile::tempdir().unwrap();
        let files = CertificateFiles {
            certificate: folder.path().join("certificate.pem"),
            key: folder.path().join("key.pem"),
        };
        std::fs::write(&files.certificate, "nothing").unwrap();
        std::fs::write(&files.key, "nothing").unwrap();
        let mut seen = None;
        for _ in 0..3 {
            let (now, loaded) = files.look(seen, false, Timestamp::from_secs(1));
            assert!(matches!(loaded, Some(Err(_))));
            seen = now;
        }
        // Those that are served are read again if they change, or somebody asks.
        let served = Some(files.fingerprint());
        let look = |is_asked| files.look(served, is_asked, Timestamp::from_secs(1)).1;
        assert!(look(false).is_none() && look(true).is_some());
        std::fs::write(&files.key, "other").unwrap();
        assert!(look(false).is_some());
    }
}
