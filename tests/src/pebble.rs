//! An ACME server of the test's own: Debian's `pebble`, with its DNS server, for which every name is
//! this machine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hyper::Version;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::https::HttpsClient;
use crate::program::{Program, free_port, signal};
use crate::tls::Certificates;

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// A running server; it and its DNS server end with the value.
pub struct Pebble {
    program: Option<Program>,
    _dns: Program,
    dns: u16,
    folder: TempDir,
    certificates: Certificates,
    port: u16,
    management: u16,
    refused_nonces: u8,
    /// Orders of those that ended.
    before: usize,
}

impl Pebble {
    /// Starts one that looks for challenges at this port and refuses so many of a hundred nonces.
    pub async fn start(challenges: u16, refused_nonces: u8) -> Result<Self> {
        let mut pebble = Self::absent(challenges, refused_nonces)?;
        pebble.appear().await?;
        Ok(pebble)
    }

    /// One that is away: nothing listens where it will be.
    pub fn absent(challenges: u16, refused_nonces: u8) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // Longer than any clock of a test is ahead.
        let certificates = Certificates::make("DNS:localhost", 3000)?;
        let (certificate, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        certificates.install(&certificate, &key)?;
        let (port, management, dns) = (free_port(), free_port(), free_port());
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": certificate,
            "privateKey": key,
            "httpPort": challenges,
            "tlsPort": free_port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        std::fs::write(folder.path().join("pebble.json"), config.to_string())?;
        let words = [
            format!("-dns01=127.0.0.1:{dns}"),
            format!("-management=127.0.0.1:{}", free_port()),
            "-defaultIPv4=127.0.0.1".to_owned(),
            "-defaultIPv6=".to_owned(),
            "-http01=".to_owned(),
            "-https01=".to_owned(),
            "-tlsalpn01=".to_owned(),
        ];
        let names = Program::start(
            &installed("pebble-challtestsrv")?,
            folder.path(),
            &words,
            &[],
        )?;
        Ok(Self {
            program: None,
            _dns: names,
            dns,
            folder,
            certificates,
            port,
            management,
            refused_nonces,
            before: 0,
        })
    }

    /// Starts it, as new.
    pub async fn appear(&mut self) -> Result<()> {
        let words = [
            "-config",
            "pebble.json",
            "-dnsserver",
            &format!("127.0.0.1:{}", self.dns),
        ];
        let environment = [
            ("PEBBLE_VA_NOSLEEP", "1".to_owned()),
            ("PEBBLE_AUTHZREUSE", "0".to_owned()),
            ("PEBBLE_WFE_NONCEREJECT", self.refused_nonces.to_string()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let binary = installed("pebble")?;
        let program = Program::start(&binary, self.folder.path(), &words, &environment)?;
        self.program = Some(program);
        let deadline = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", self.management))
            .await
            .is_err()
            || TcpStream::connect(("127.0.0.1", self.port)).await.is_err()
        {
            if Instant::now() > deadline {
                bail!("pebble does not listen: {}", self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The value for `[tls] directory`.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The authority of the server itself, for `[tls] directory_ca_file`.
    pub fn authority(&self) -> PathBuf {
        self.certificates.authority()
    }

    /// The authority of what it certifies, which is another one after each start.
    pub async fn root(&self) -> Result<PathBuf> {
        let address = ([127, 0, 0, 1], self.management).into();
        let client = HttpsClient::new(&self.authority(), address, "localhost")?;
        let mut connection = client.open(Version::HTTP_11).await?;
        let reply = connection.send("GET", "/roots/0", &[], "").await?;
        ensure!(reply.status == 200, "{reply:?}");
        let path = self.folder.path().join("root.pem");
        std::fs::write(&path, reply.text)?;
        Ok(path)
    }

    /// How many orders it was asked for.
    pub fn orders(&self) -> usize {
        let now = self.program.as_ref().map_or(0, |program| {
            let lines = [program.stdout.all(), program.stderr.all()].concat();
            lines
                .iter()
                .filter(|line| line.contains("orders in the db"))
                .count()
        });
        self.before + now
    }

    /// Stops it from doing anything, its connections open.
    pub async fn freeze(&self) -> Result<()> {
        self.signal("STOP").await
    }

    /// Lets it go on.
    pub async fn thaw(&self) -> Result<()> {
        self.signal("CONT").await
    }

    /// Ends it.
    pub async fn vanish(&mut self) -> Result<()> {
        self.before = self.orders();
        if let Some(mut program) = self.program.take() {
            program.kill().await?;
        }
        Ok(())
    }

    async fn signal(&self, name: &str) -> Result<()> {
        let id = self.program.as_ref().and_then(Program::id);
        signal(id.context("it has ended")?, name).await
    }

    /// What it wrote, for the message of a failure.
    pub fn last_words(&self) -> String {
        self.program
            .as_ref()
            .map_or_else(String::new, Program::last_words)
    }
}

fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = found.find(|candidate| candidate.exists());
    found
        .with_context(|| format!("no {name}: install it (apt-get install pebble) or run tests/run"))
}

/// A port that leads to another one, or answers every request with 404.
pub struct PortForward {
    /// Where it listens.
    pub port: u16,
    leads: watch::Sender<Option<u16>>,
    passed: watch::Sender<usize>,
    task: JoinHandle<()>,
}

impl Drop for PortForward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PortForward {
    /// Listens, and leads nowhere.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let leads = watch::Sender::new(None);
        let following = leads.subscribe();
        let passed = watch::Sender::new(0);
        let counted = passed.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (to, counted) = (*following.borrow(), counted.clone());
                tokio::spawn(async move {
                    pass(socket, to).await;
                    counted.send_modify(|count| *count += 1);
                });
            }
        });
        Ok(Self {
            port,
            leads,
            passed,
            task,
        })
    }

    /// Waits until so many have gone it and were answered.
    pub async fn await_passed(&self, count: usize) -> Result<()> {
        let mut passed = self.passed.subscribe();
        let gone = passed.wait_for(|passed| *passed >= count);
        tokio::time::timeout(START, gone)
            .await
            .context("nobody came")??;
        Ok(())
    }

    /// Leads to this port from now on.
    pub fn lead(&self, port: Option<u16>) {
        self.leads.send_replace(port);
    }
}

async fn pass(mut socket: TcpStream, to: Option<u16>) {
    let Some(to) = to else {
        let mut scratch = [0; 4096];
        // Either side may leave without a word.
        let _ = socket.read(&mut scratch).await;
        let answer =
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnone";
        let _ = socket.write_all(answer).await;
        return;
    };
    if let Ok(mut other) = TcpStream::connect(("127.0.0.1", to)).await {
        let _ = tokio::io::copy_bidirectional(&mut socket, &mut other).await;
    }
}
