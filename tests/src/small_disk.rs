//! Small file systems of a test's own: one that fills up, and one that stops answering. Mounting takes a
//! user who may: the tests that do it are in modules called `on_a_small_disk`, ignored, and run by
//! `tests/run` where it may.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::program::run;

/// A file system that goes with the test.
pub struct SmallDisk {
    place: TempDir,
    /// What holds the blocks of one that can be frozen.
    _image: Option<TempDir>,
}

impl SmallDisk {
    /// One of this size, such as `256k`.
    pub async fn mount(size: &str) -> Result<Self> {
        let place = tempfile::tempdir()?;
        let options = format!("size={size}");
        let target = place.path().display().to_string();
        let words = ["-t", "tmpfs", "-o", &options, "tmpfs", &target];
        done("mount", &words).await?;
        Ok(Self {
            place,
            _image: None,
        })
    }

    /// One of so many MiB that can be frozen.
    pub async fn mount_ext4(size: u64) -> Result<Self> {
        let (place, image) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let file = image.path().join("image");
        std::fs::File::create(&file)?.set_len(size << 20)?;
        let (file, target) = (
            file.display().to_string(),
            place.path().display().to_string(),
        );
        done("mkfs.ext4", &["-q", "-F", &file]).await?;
        done("mount", &["-o", "loop", &file, &target]).await?;
        Ok(Self {
            place,
            _image: Some(image),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Takes all the room that is left.
    pub fn fill(&self) -> Result<()> {
        let mut block = 1 << 20;
        let mut filler = std::fs::File::create(self.filler())?;
        while block > 0 {
            if std::io::Write::write_all(&mut filler, &vec![0; block]).is_err() {
                block /= 2;
            }
        }
        Ok(())
    }

    /// Gives it back.
    pub fn clear(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }

    /// From now on whoever writes waits.
    pub async fn freeze(&self) -> Result<()> {
        self.fsfreeze("-f").await
    }

    /// Until now.
    pub async fn thaw(&self) -> Result<()> {
        self.fsfreeze("-u").await
    }

    async fn fsfreeze(&self, what: &str) -> Result<()> {
        let target = self.path().display().to_string();
        done("fsfreeze", &[what, &target]).await
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

async fn done(program: &str, words: &[&str]) -> Result<()> {
    let (code, _, errors) = run(Path::new(program), words, "").await?;
    ensure!(code == 0, "{program} {}: {errors}", words.join(" "));
    Ok(())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let quietly = |program: &str, word: &str| {
            let _ = Command::new(program)
                .arg(word)
                .arg(self.place.path())
                .stderr(Stdio::null())
                .status();
        };
        // A test that failed may have left it frozen.
        quietly("fsfreeze", "-u");
        quietly("umount", "-l");
    }
}
