//! `[tls]`: whether https is served here, and with which certificate.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::general::{General, public_address};
use crate::config::reader::Reader;
use crate::config::settings::settings;
use crate::config::values;
use crate::tls::settings::{AcmeSettings, CertificateFiles};
use gateway_core::protocol::resource::Issuer;

settings! {
    /// `[tls]`
    pub(super) struct TlsKeys in "tls." {
        /// Whether https is served at `listen` with a certificate that the gateway orders by itself and
        /// renews at two thirds of its life. With it you agree to the terms of the ACME server.
        acme: bool = "false", values::flag;
        /// The ACME server. For trials Let's Encrypt has
        /// `https://acme-staging-v02.api.letsencrypt.org/directory`.
        directory: String = "https://acme-v02.api.letsencrypt.org/directory", directory;
        /// Addresses that the ACME server may write to.
        contact: Vec<String>, contact;
        /// How the ACME server is shown that the name leads here: `http-01`, an answer at port 80. Others
        /// are not offered.
        challenge: AcmeChallenge = "http-01", challenge;
        /// A certificate in PEM by which the ACME server is known, instead of the authorities of this
        /// machine: for one of your own.
        directory_ca_file: Option<PathBuf>, values::path;
        /// The certificate to serve https with at `listen`, and those that signed it, in PEM. The file is
        /// read anew when it changes. Without it and `acme` the gateway speaks plain HTTP, and TLS is the
        /// business of what stands in front.
        certificate_file: Option<PathBuf>, values::path;
        /// Its private key, in PEM.
        key_file: Option<PathBuf>, values::path;
        /// Where plain HTTP is answered, with nothing but a redirect to https, `/healthz` and the
        /// challenges of the ACME server, which asks for them at port 80 of the host of `public_url`.
        /// Default: port 80 beside each address of `listen` with port 443.
        plain_listen: Vec<SocketAddr>, public_address;
    }
}

/// The one way in which an ACME server is shown that a name leads here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AcmeChallenge {
    /// A file at port 80 (RFC 8555 §8.3).
    Http01,
}

/// How https is served.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Where its certificate comes from.
    pub source: CertificateSource,
    /// Where plain HTTP is redirected.
    pub plain: Vec<SocketAddr>,
}

/// Where a certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// Files that somebody else renews.
    Files(CertificateFiles),
    /// An ACME server.
    Acme(AcmeSettings),
}

impl TlsKeys {
    /// How https is served, if it is; `None` also with a problem noted.
    pub(super) fn settings(
        self,
        general: &General,
        issuer: Option<&Issuer>,
        reader: &mut Reader<'_>,
    ) -> Option<TlsSettings> {
        let source = self.source(issuer, reader)?;
        if issuer.is_some_and(|issuer| !issuer.is_https()) {
            let sentence = "must be https:// and the name in the certificate, where [tls] is on";
            reader.conflict("public_url", sentence);
        }
        let plain = if reader.is_written("tls.plain_listen") {
            self.plain_listen
        } else {
            beside(&general.listen)
        };
        general.check_apart("tls.plain_listen", &plain, reader);
        if plain.is_empty() && matches!(source, CertificateSource::Acme(_)) {
            let sentence = "names no address, and the ACME server asks for its challenge at port 80: \
                            give the one that port 80 leads to, such as 0.0.0.0:80";
            reader.conflict("tls.plain_listen", sentence);
        }
        Some(TlsSettings { source, plain })
    }

    /// Where the certificate comes from, if there is to be one.
    fn source(
        &self,
        issuer: Option<&Issuer>,
        reader: &mut Reader<'_>,
    ) -> Option<CertificateSource> {
        match (self.acme, &self.certificate_file, &self.key_file) {
            (true, None, None) => {
                // Answered at `tls.plain_listen`; there is no other one to choose.
                let AcmeChallenge::Http01 = self.challenge;
                let name = certifiable(issuer?.host());
                if let Err(sentence) = &name {
                    reader.conflict("public_url", sentence);
                }
                Some(CertificateSource::Acme(AcmeSettings {
                    directory: self.directory.clone(),
                    contact: self.contact.clone(),
                    directory_ca: self.directory_ca_file.clone(),
                    name: name.ok()?,
                }))
            }
            (true, ..) => {
                let sentence =
                    "stands beside tls.certificate_file: a certificate is ordered, or is in files";
                reader.conflict("tls.acme", sentence);
                None
            }
            (false, Some(certificate), Some(key)) => {
                Some(CertificateSource::Files(CertificateFiles {
                    certificate: certificate.clone(),
                    key: key.clone(),
                }))
            }
            (false, Some(_), None) => {
                reader.conflict("tls.key_file", "must be given with tls.certificate_file");
                None
            }
            (false, None, Some(_)) => {
                reader.conflict("tls.certificate_file", "must be given with tls.key_file");
                None
            }
            (false, None, None) => {
                if !self.plain_listen.is_empty() {
                    let sentence = "leads to https, which is not served here: give tls.acme, or \
                                    tls.certificate_file and tls.key_file";
                    reader.conflict("tls.plain_listen", sentence);
                }
                None
            }
        }
    }
}

/// A host that an ACME server certifies.
fn certifiable(host: &str) -> Result<String, String> {
    match url::Host::parse(host) {
        Ok(url::Host::Domain(name)) if name.contains('.') => Ok(name),
        _ => Err(
            "must have a domain name with tls.acme, such as https://mcp.example.com, which is certified"
                .to_owned(),
        ),
    }
}

fn directory(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.has_host() => Ok(text.to_owned()),
        _ => Err("is no https URL of an ACME server's directory".to_owned()),
    }
}

fn challenge(text: &str) -> Result<AcmeChallenge, String> {
    match text {
        "http-01" => Ok(AcmeChallenge::Http01),
        "tls-alpn-01" | "dns-01" => Err(
            "is not offered here: write `http-01`, which the ACME server looks for at port 80, or give \
             tls.certificate_file and tls.key_file of a program that knows the other one"
                .to_owned(),
        ),
        _ => Err("must be `http-01`".to_owned()),
    }
}

/// An address, as the URI that an ACME server takes (RFC 8555 §7.3).
fn contact(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let is_address = address.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty()
            && host.contains('.')
            && address.bytes().all(|byte| byte.is_ascii_graphic())
    });
    if !is_address || address.contains([',', '?']) {
        return Err("is no e-mail address, such as ops@example.com".to_owned());
    }
    Ok(format!("mailto:{address}"))
}

/// Port 80 beside 443.
fn beside(listen: &[SocketAddr]) -> Vec<SocketAddr> {
    let https = listen.iter().filter(|address| address.port() == 443);
    https
        .map(|address| SocketAddr::new(address.ip(), 80))
        .collect()
}
