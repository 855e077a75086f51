//! A Redis server of the test's own: free port, append-only file, fsync on every
//! write, so that what it acknowledged survives a kill.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::machine::synced_folder;
use crate::program::{Program, free_port, signal};

/// A running `redis-server` with its folder; both end with the value.
pub struct Redis {
    program: Program,
    folder: TempDir,
    options: Vec<String>,
    /// The port on 127.0.0.1.
    pub port: u16,
}

impl Redis {
    /// Start one and wait until it answers PING.
    pub async fn start() -> Result<Self> {
        Self::with(&[]).await
    }

    /// The same with options of the test's own, which win.
    pub async fn with(options: &[&str]) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir_in(synced_folder())?, free_port());
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let program = launch(folder.path(), port, &options)?;
        let redis = Redis {
            program,
            folder,
            options,
            port,
        };
        redis.ready().await?;
        Ok(redis)
    }

    /// The value for `[store] url`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Kill -9.
    pub async fn kill(&mut self) -> Result<()> {
        self.program.kill().await
    }

    /// It takes connections and says nothing any more; and is as before again.
    pub async fn freeze(&self, is_frozen: bool) -> Result<()> {
        let id = self.program.id().context("it has ended")?;
        signal(id, if is_frozen { "STOP" } else { "CONT" }).await
    }

    /// Start again on the same port with the same append-only file.
    pub async fn restart(&mut self) -> Result<()> {
        self.program = launch(self.folder.path(), self.port, &self.options)?;
        self.ready().await
    }

    /// Forget everything.
    pub async fn wipe(&self) -> Result<()> {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
        socket.write_all(b"FLUSHALL\r\n").await?;
        let mut answer = [0u8; 5];
        socket.read_exact(&mut answer).await?;
        anyhow::ensure!(&answer == b"+OK\r\n", "FLUSHALL was not done");
        Ok(())
    }

    /// Says a command as an operator would, one word each, and returns the first line of the answer.
    pub async fn say(&self, words: &[&str]) -> Result<String> {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &format!("${}\r\n{word}\r\n", word.len());
        }
        socket.write_all(command.as_bytes()).await?;
        let mut lines = BufReader::new(socket).lines();
        let line = tokio::time::timeout(Duration::from_secs(5), lines.next_line()).await??;
        Ok(line.unwrap_or_default())
    }

    /// All keys and what is under them, a line each.
    pub async fn everything(&self) -> Result<String> {
        const SCRIPT: &str = "local all = {}
            for _, key in ipairs(redis.call('KEYS', '*')) do
              local kind, held = redis.call('TYPE', key)['ok'], {}
              if kind == 'string' then held = { redis.call('GET', key) }
              elseif kind == 'hash' then held = redis.call('HGETALL', key)
              elseif kind == 'zset' then held = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
              elseif kind == 'set' then held = redis.call('SMEMBERS', key)
              elseif kind == 'list' then held = redis.call('LRANGE', key, 0, -1)
              else return redis.error_reply('what is a ' .. kind) end
              table.insert(all, key)
              for _, text in ipairs(held) do table.insert(all, text) end
            end
            return table.concat(all, '\\n')";
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
        let length = SCRIPT.len();
        let command = format!("*3\r\n$4\r\nEVAL\r\n${length}\r\n{SCRIPT}\r\n$1\r\n0\r\n");
        socket.write_all(command.as_bytes()).await?;
        let mut reader = BufReader::new(socket);
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        let length = line
            .trim()
            .strip_prefix('$')
            .with_context(|| line.clone())?;
        let mut held = vec![0; length.parse()?];
        reader.read_exact(&mut held).await?;
        Ok(String::from_utf8_lossy(&held).into_owned())
    }

    /// Asks whichever server listens on a port, and returns the lines of the answer as they come.
    pub async fn ask(port: u16, password: Option<&str>, words: &[&str]) -> Result<Vec<String>> {
        const END: &str = "+PONG";
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let mut text = String::new();
        let auth = password.map(|password| vec!["AUTH", password]);
        for words in auth.as_deref().into_iter().chain([words, &["PING"]]) {
            text += &format!("*{}\r\n", words.len());
            for word in words {
                text += &format!("${}\r\n{word}\r\n", word.len());
            }
        }
        socket.write_all(text.as_bytes()).await?;
        let mut lines = BufReader::new(socket).lines();
        let mut said = Vec::new();
        let reading = async {
            while let Some(line) = lines.next_line().await? {
                if line == END {
                    return Ok(());
                }
                said.push(line);
            }
            bail!("it hung up")
        };
        tokio::time::timeout(Duration::from_secs(5), reading).await??;
        Ok(said)
    }

    /// Does what another server wrote to its append-only file.
    pub async fn replay(&self, commands: &[u8]) -> Result<()> {
        const LAST: &[u8] = b"*2\r\n$4\r\nECHO\r\n$4\r\ndone\r\n";
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?;
        let (reading, mut writing) = socket.into_split();
        let commands = [commands, LAST].concat();
        let written = tokio::spawn(async move {
            writing.write_all(&commands).await?;
            Ok::<_, std::io::Error>(writing)
        });
        let mut lines = BufReader::new(reading).lines();
        let answers = async {
            while let Some(line) = lines.next_line().await? {
                anyhow::ensure!(!line.starts_with('-'), "it answered {line}");
                if line == "done" {
                    return Ok(());
                }
            }
            bail!("it hung up")
        };
        tokio::time::timeout(Duration::from_secs(10), answers).await??;
        written.await??;
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Ok(mut socket) = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await {
                let mut answer = [0u8; 7];
                socket.write_all(b"PING\r\n").await?;
                let read =
                    tokio::time::timeout(Duration::from_secs(1), socket.read_exact(&mut answer))
                        .await;
                // One that wants a password is up, too.
                if matches!(read, Ok(Ok(_))) && [b"+PONG\r\n", b"-NOAUTH"].contains(&&answer) {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!(
            "redis-server does not answer: {}",
            self.program.last_words()
        )
    }
}

fn launch(folder: &Path, port: u16, options: &[String]) -> Result<Program> {
    let port = port.to_string();
    let arguments = [
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
    ];
    let options = options.iter().map(String::as_str);
    let arguments: Vec<&str> = arguments.into_iter().chain(options).collect();
    Program::start_bound(&server(), folder, &arguments, &[])
}

pub(crate) fn server() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("redis-server"))
        .find(|candidate| candidate.exists())
        .expect("redis-server is on the PATH; tests/run installs it")
}
