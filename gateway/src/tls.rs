//! The certificate of the public listener: from files, or ordered from an ACME server.
//!
//! What is to be done is decided by pure functions over the time and what is known ([`certificate`],
//! `notice`, `acme::plan`); [`files`] and [`acme`] read, order and wait, and give what comes of it to the
//! listener's [`ServedCertificate`].
//!
//! Owns: where certificates come from and how they stand. Not: handshakes (`gateway-proxy`).

pub mod acme;
pub mod certificate;
pub mod files;
mod notice;
pub mod settings;
mod status;

use std::sync::Arc;

use gateway_proxy::ServedCertificate;

pub use self::status::{CertificateState, CertificateStatus};

/// What is served, and how it stands.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// What handshakes get.
    pub served: Arc<ServedCertificate>,
    /// What the operator is told.
    pub status: Arc<CertificateStatus>,
}
