//! TLS on the public listener: the certificate that is served, and the handshake.
//!
//! Owns: which certificate a handshake gets, what is negotiated. Not: where certificates come from
//! (the binary), how long a handshake may take (`listener`).

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::transport::Encrypted;

/// The name of HTTP/2 in the negotiation (RFC 9113 §3.2).
const H2: &[u8] = b"h2";

/// The one of HTTP/1.1 (RFC 7301 §6).
const HTTP_1_1: &[u8] = b"http/1.1";

/// The certificate that is served at present. Replacing it touches no connection that is open; while
/// there is none, no handshake succeeds.
#[derive(Default)]
pub struct ServedCertificate(RwLock<Option<Arc<CertifiedKey>>>);

impl ServedCertificate {
    /// Serves this one from the next handshake on.
    pub fn replace(&self, certificate: Arc<CertifiedKey>) {
        *self.0.write() = Some(certificate);
    }
}

impl fmt::Debug for ServedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServedCertificate")
    }
}

impl ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().clone()
    }
}

/// TLS 1.2 and 1.3 with this certificate, HTTP/2 before HTTP/1.1.
pub(super) fn acceptor(certificate: &Arc<ServedCertificate>) -> TlsAcceptor {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has suites for both versions");
    let resolver: Arc<dyn ResolvesServerCert> = Arc::<ServedCertificate>::clone(certificate);
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Whether the two sides agreed on HTTP/2. A client that negotiates nothing speaks HTTP/1.1.
pub(super) fn speaks_h2(connection: &Encrypted) -> bool {
    connection.get_ref().1.alpn_protocol() == Some(H2)
}
