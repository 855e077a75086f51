//! Which issuers are those of a configured provider. Of Entra it may be another text than the
//! configured one: a directory that is configured by its domain is named by its id, and one
//! configuration can stand for every directory.

use super::settings::{Flavour, OpenId};

/// What stands for the tenant in the document of all.
pub(super) const ANY: &str = "{tenantid}";

/// The tenant of people's own Microsoft accounts.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// What a configured tenant stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenant {
    /// Every directory.
    Every,
    /// People's own accounts.
    Consumers,
    /// A directory by its domain: the id is the provider's to say.
    Domain,
    /// This one.
    Exact,
}

impl Tenant {
    fn of(text: &str) -> Self {
        match text {
            "common" | "organizations" => Self::Every,
            "consumers" => Self::Consumers,
            domain if domain.contains('.') => Self::Domain,
            _ => Self::Exact,
        }
    }
}

/// An issuer as what stands before the tenant, the tenant, and what stands behind it.
fn split(issuer: &str) -> Option<(&str, &str, &str)> {
    let host = issuer.find("://")? + 3;
    let tenant = host + issuer.get(host..)?.find('/')? + 1;
    let end = tenant + issuer.get(tenant..)?.find('/')?;
    Some((
        issuer.get(..tenant)?,
        issuer.get(tenant..end)?,
        issuer.get(end..)?,
    ))
}

fn is_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Whether people of this issuer are people of the provider.
pub(super) fn is_issuer(issuer: &str, open_id: &OpenId) -> bool {
    is_named(issuer, open_id, |configured, said| match configured {
        Tenant::Every | Tenant::Domain => is_id(said),
        Tenant::Consumers => said == CONSUMERS,
        Tenant::Exact => false,
    })
}

/// Whether a document that was asked for at the configured issuer may name this one.
pub(super) fn is_document_issuer(issuer: &str, open_id: &OpenId) -> bool {
    is_named(issuer, open_id, |configured, said| match configured {
        Tenant::Every => said == ANY,
        Tenant::Domain => is_id(said),
        Tenant::Consumers => said == CONSUMERS,
        Tenant::Exact => false,
    })
}

/// The configured issuer itself, or the same with a tenant that `may_be` takes.
fn is_named(issuer: &str, open_id: &OpenId, may_be: impl Fn(Tenant, &str) -> bool) -> bool {
    if issuer == open_id.issuer {
        return true;
    }
    let both = split(issuer).zip(split(&open_id.issuer));
    open_id.flavour == Flavour::Entra
        && both.is_some_and(|((before, said, behind), configured)| {
            (before, behind) == (configured.0, configured.2)
                && may_be(Tenant::of(configured.1), said)
        })
}

/// Whether an issuer names no directory but stands for all, or for people's own accounts: whoever
/// likes has an account there.
pub(super) fn is_for_everybody(issuer: &str) -> bool {
    split(issuer).is_some_and(|(_, tenant, _)| {
        let tenant = tenant.to_ascii_lowercase();
        let stands_for = Tenant::of(&tenant);
        matches!(stands_for, Tenant::Every | Tenant::Consumers) || tenant == CONSUMERS
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::examples::open_id;

    const ID: &str = "11111111-2222-3333-4444-555555555555";
    const OTHER: &str = "aaaaaaaa-2222-3333-4444-555555555555";

    fn of(tenant: &str) -> String {
        format!("https://login.microsoftonline.com/{tenant}/v2.0")
    }

    #[test]
    fn a_directory_that_is_configured_by_its_id_is_no_other() {
        for (configured, said, person, document) in [
            (ID, ID, true, true),
            (ID, OTHER, false, false),
            (ID, ANY, false, false),
            ("example.com", ID, true, true),
            ("example.com", ANY, false, false),
            ("example.com", "evil", false, false),
            ("common", ID, true, false),
            ("common", ANY, false, true),
            ("organizations", ID, true, false),
            ("consumers", CONSUMERS, true, true),
            ("consumers", ID, false, false),
        ] {
            let entra = open_id(&of(configured), Flavour::Entra);
            let seen = (
                is_issuer(&of(said), &entra),
                is_document_issuer(&of(said), &entra),
            );
            assert_eq!(seen, (person, document), "{configured} {said}");
            let plain = open_id(&of(configured), Flavour::Plain);
            assert_eq!(is_issuer(&of(said), &plain), configured == said);
        }
        let entra = open_id(&of("common"), Flavour::Entra);
        for other in [
            format!("https://evil.example/{ID}/v2.0"),
            format!("https://login.microsoftonline.com/{ID}/v1.0"),
            format!("https://login.microsoftonline.com/{ID}"),
            "https://login.example.com".to_owned(),
        ] {
            assert!(!is_issuer(&other, &entra), "{other}");
            assert!(!is_document_issuer(&other, &entra), "{other}");
        }
    }
}
