//! Where the certificate of the public listener comes from, as the operator decided it.
//!
//! Not: what is done with it (`files`, `acme`).

use std::path::PathBuf;

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
}

/// What an operator decides about a certificate that is ordered from an ACME server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeSettings {
    /// Where the ACME server says what it offers.
    pub directory: String,
    /// Whom it may write to, as `mailto:` URIs.
    pub contact: Vec<String>,
    /// The authority by which the ACME server is known, instead of those of this machine.
    pub directory_ca: Option<PathBuf>,
    /// The host name that the certificate is for.
    pub name: String,
}
