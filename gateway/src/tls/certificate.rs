//! A certificate with its chain and key, and whether it can be served.

use std::sync::Arc;

use gateway_core::clock::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A certificate that can be served.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Chain and key.
    pub key: Arc<CertifiedKey>,
    /// What is said of it.
    pub facts: CertificateFacts,
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The names and addresses that it is for (RFC 6125 looks at no others).
    pub names: Vec<String>,
    /// From when it is good.
    pub begins: Timestamp,
    /// Until when.
    pub ends: Timestamp,
}

/// Why a certificate can't be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// There is no certificate.
    #[error(
        "holds no certificate in PEM; name the file of the whole chain (fullchain.pem of certbot)"
    )]
    NoCertificate,
    /// What stands there can't be read.
    #[error("holds a certificate that can't be read: {0}")]
    Malformed(String),
    /// There is no key.
    #[error("holds no private key in PEM; name the file of the key (privkey.pem of certbot)")]
    NoKey,
    /// The key is under a passphrase.
    #[error(
        "holds a key under a passphrase, which nobody could type at a restart; write it without one: \
         openssl pkey -in KEY -out NEW"
    )]
    Passphrase,
    /// The key is of a kind that can't be used.
    #[error("holds a key that can't be used; take one of ECDSA (P-256), RSA or Ed25519")]
    KeyKind,
    /// The first certificate is not that of the key.
    #[error(
        "holds a key of another certificate than the first one; the server's own certificate comes first, \
         then those that signed it"
    )]
    OtherKey,
    /// Its time is over.
    #[error("holds a certificate that ended at {0}; renew it")]
    Expired(Timestamp),
    /// Its time has not come.
    #[error("holds a certificate that begins at {0}; set this machine's clock, or wait")]
    Early(Timestamp),
}

impl CertificateFault {
    /// Whether the file of the key is to be looked at, rather than that of the certificate.
    pub const fn is_of_key(&self) -> bool {
        matches!(
            self,
            Self::NoKey | Self::Passphrase | Self::KeyKind | Self::OtherKey
        )
    }
}

impl Certificate {
    /// Reads a chain and its key, both in PEM, and judges them at this moment.
    ///
    /// # Errors
    ///
    /// It can't be served.
    pub fn parse(chain: &[u8], key: &[u8], now: Timestamp) -> Result<Self, CertificateFault> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(malformed)?;
        let facts = facts(chain.first().ok_or(CertificateFault::NoCertificate)?)?;
        let der = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            let encrypted = b"ENCRYPTED".as_slice();
            if key.windows(encrypted.len()).any(|part| part == encrypted) {
                CertificateFault::Passphrase
            } else {
                CertificateFault::NoKey
            }
        })?;
        let signing = any_supported_type(&der).map_err(|_| CertificateFault::KeyKind)?;
        let key = CertifiedKey::new(chain, signing);
        key.keys_match().map_err(|_| CertificateFault::OtherKey)?;
        if now >= facts.ends {
            return Err(CertificateFault::Expired(facts.ends));
        }
        if now < facts.begins {
            return Err(CertificateFault::Early(facts.begins));
        }
        Ok(Self {
            key: Arc::new(key),
            facts,
        })
    }
}

impl CertificateFacts {
    /// Whether a client that asked for this host takes the certificate: a name in full, or below a
    /// wildcard that stands for one label (RFC 9525 §6.3).
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.names.iter().any(|name| {
            name.eq_ignore_ascii_case(host)
                || name.strip_prefix("*.").is_some_and(|parent| {
                    host.split_once('.').is_some_and(|(label, rest)| {
                        !label.is_empty() && rest.eq_ignore_ascii_case(parent)
                    })
                })
        })
    }
}

fn facts(der: &CertificateDer<'_>) -> Result<CertificateFacts, CertificateFault> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(malformed)?;
    let moment = |seconds: i64| Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0));
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.iter().filter_map(name).collect());
    Ok(CertificateFacts {
        names: names.unwrap_or_default(),
        begins: moment(certificate.validity().not_before.timestamp()),
        ends: moment(certificate.validity().not_after.timestamp()),
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or_else(|_| v6()).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn malformed(error: impl std::fmt::Display) -> CertificateFault {
    CertificateFault::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(names: &[&str]) -> CertificateFacts {
        CertificateFacts {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            begins: Timestamp::from_secs(1),
            ends: Timestamp::from_secs(2),
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let wild = facts(&["*.example.com", "::1"]);
        assert!(wild.covers("mcp.example.com"));
        assert!(wild.covers("MCP.Example.Com"));
        assert!(wild.covers("[::1]"));
        for host in [
            "example.com",
            "a.b.example.com",
            ".example.com",
            "x.example.org",
        ] {
            assert!(!wild.covers(host), "{host}");
        }
        assert!(facts(&["mcp.example.com"]).covers("mcp.example.com"));
        assert!(!facts(&[]).covers("mcp.example.com"));
    }

    #[test]
    fn what_is_no_certificate_says_what_to_name_instead() {
        let now = Timestamp::from_secs(1);
        let fault = Certificate::parse(b"nothing", b"", now).unwrap_err();
        assert_eq!(fault, CertificateFault::NoCertificate);
        assert!(fault.to_string().contains("fullchain.pem"));
    }
}
