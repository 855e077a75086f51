//! Which certificates are trusted, and what a server's own one says.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use gateway_core::clock::Timestamp;

/// Why there is nothing to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// `--ca-file` can't be used.
    #[error("{}: {why}", path.display())]
    CaFile {
        /// As given.
        path: PathBuf,
        /// In words.
        why: String,
    },
    /// TLS can't be set up at all.
    #[error("TLS: {0}")]
    Provider(#[from] rustls::Error),
}

/// The client side of TLS: the roots of this machine, and those of `ca_file`.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    // A root that can't be read is one less; an empty store shows at the first handshake.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let refused = |why: &dyn Display| TrustError::CaFile {
            path: path.to_owned(),
            why: why.to_string(),
        };
        let before = roots.len();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))? {
            let certificate = certificate.map_err(|error| refused(&error))?;
            roots.add(certificate).map_err(|error| refused(&error))?;
        }
        if roots.len() == before {
            return Err(refused(&"it holds no certificate in PEM"));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// When a certificate ends, if it can be read.
pub(super) fn expiry(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let seconds = parsed.validity().not_after.timestamp();
    u64::try_from(seconds).ok().map(Timestamp::from_secs)
}
