//! A TLS front for anything that speaks plain TCP, with certificates of the test's own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority and one certificate by it.
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Make them. `name` is a subject alternative name such as `IP:127.0.0.1`; with fewer than
    /// zero days the certificate has expired.
    pub fn make(name: &str, days: i32) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        std::fs::write(
            folder.path().join("names"),
            format!("subjectAltName={name}"),
        )?;
        for words in [
            format!("req -x509 {key} -keyout ca.key -out ca.pem -days 400 -subj /CN=authority"),
            format!("req {key} -keyout key.pem -out request.pem -subj /CN=server"),
            format!(
                "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile names -out cert.pem"
            ),
        ] {
            openssl(folder.path(), &words)?;
        }
        Ok(Certificates { folder })
    }

    /// The authority's own certificate, to be trusted.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Writes certificate and key over those that a server reads, as a program that renews them does.
    pub fn install(&self, certificate: &Path, key: &Path) -> Result<()> {
        for (from, to) in [("cert.pem", certificate), ("key.pem", key)] {
            let new = to.with_extension("new");
            std::fs::copy(self.folder.path().join(from), &new)?;
            std::fs::rename(&new, to)?;
        }
        Ok(())
    }

    fn server_config(&self) -> Result<ServerConfig> {
        let file = |name| self.folder.path().join(name);
        let chain = vec![CertificateDer::from_pem_file(file("cert.pem"))?];
        let key = PrivateKeyDer::from_pem_file(file("key.pem"))?;
        Ok(
            ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(chain, key)?,
        )
    }
}

fn openssl(folder: &Path, words: &str) -> Result<()> {
    let said = Command::new("openssl")
        .args(words.split(' '))
        .current_dir(folder)
        .output()
        .context("no openssl: install it (apt-get install openssl) or run tests/run")?;
    ensure!(said.status.success(), "openssl {words}: {said:?}");
    Ok(())
}

/// Ends TLS on a loopback port and passes the bytes on.
pub struct TlsFront {
    /// Where it listens.
    pub address: SocketAddr,
    upstream: Arc<Mutex<Option<SocketAddr>>>,
    task: JoinHandle<()>,
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TlsFront {
    /// Listen, in front of nothing yet.
    pub async fn start(certificates: &Certificates) -> Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(certificates.server_config()?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let upstream = Arc::new(Mutex::new(None));
        let behind = upstream.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let upstream = *behind.lock().expect("no panic under it");
                tokio::spawn(pass(acceptor.clone(), stream, upstream));
            }
        });
        Ok(TlsFront {
            address,
            upstream,
            task,
        })
    }

    /// Stand in front of this address.
    pub fn front(&self, upstream: SocketAddr) {
        *self.upstream.lock().expect("no panic under it") = Some(upstream);
    }

    /// The origin that clients know.
    pub fn origin(&self) -> String {
        format!("https://{}", self.address)
    }
}

async fn pass(acceptor: TlsAcceptor, stream: TcpStream, upstream: Option<SocketAddr>) {
    let (Ok(mut front), Some(upstream)) = (acceptor.accept(stream).await, upstream) else {
        return;
    };
    if let Ok(mut back) = TcpStream::connect(upstream).await {
        // Either side may leave without a word.
        let _ = tokio::io::copy_bidirectional(&mut front, &mut back).await;
    }
}
