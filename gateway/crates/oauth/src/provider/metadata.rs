//! What an OpenID provider says of itself (OpenID Connect Discovery 1.0), and its keys.

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::failure::Failure;
use super::id_token::Keys;
use super::providers::Providers;
use super::settings::OpenId;
use super::tenant::is_document_issuer;
use gateway_core::client::secret_basic::SecretMethods;
use gateway_core::clock::Timestamp;
use gateway_core::reason::Reason;
use gateway_fetch::{Unusable, own_or_https};

/// Where a provider is asked for what.
#[derive(Clone, Debug)]
pub(super) struct Metadata {
    /// The issuer of its tokens; `{tenantid}` stands for the tenant that a token names.
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) jwks_uri: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    /// Whether its answers to the browser name it (RFC 9207).
    pub(super) names_itself: bool,
    /// How a secret is taken at the token endpoint.
    pub(super) secret_methods: SecretMethods,
}

/// Its members, as far as they are used.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Providers {
    /// Where the provider is asked for what: kept for as long as it says, the last good one while it
    /// is away.
    pub(super) async fn metadata(
        &self,
        open_id: &OpenId,
        now: Timestamp,
    ) -> Result<Metadata, Failure> {
        let issuer = open_id.issuer.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let url = Url::parse(&url).map_err(|error| {
            Failure::because(Reason::ProviderDocumentInvalid, format!("{url}: {error}"))
        })?;
        let judge = |document: &[u8]| judge(document, open_id);
        let had = self.fetch.get(&url, now, judge).await;
        had.map_err(|error| failure(&url, error))
    }

    /// The keys that its tokens are signed with.
    pub(super) async fn keys(&self, metadata: &Metadata, now: Timestamp) -> Result<Keys, Failure> {
        let url = &metadata.jwks_uri;
        let had = self.fetch.get(url, now, keys).await;
        had.map_err(|error| failure(url, error))
    }

    /// Newer ones than those, if they can be had: the provider may have changed them.
    pub(super) async fn newer_keys(
        &self,
        metadata: &Metadata,
        now: Timestamp,
    ) -> Result<Option<Keys>, Failure> {
        let url = &metadata.jwks_uri;
        let had = self.fetch.renew(url, now, keys).await.transpose();
        had.map_err(|error| failure(url, error))
    }
}

/// Why a document of the provider's is no use.
fn failure(url: &Url, unusable: Unusable<String>) -> Failure {
    match unusable {
        Unusable::Fetch(error) => Failure::of_document(url, &error),
        Unusable::Document(what) => {
            let detail = format!("{url}: {what}");
            Failure::because(Reason::ProviderDocumentInvalid, detail)
        }
    }
}

fn keys(document: &[u8]) -> Result<Keys, String> {
    let set: Value = serde_json::from_slice(document).map_err(|_| "is no JSON".to_owned())?;
    Keys::parse(&set)
}

fn judge(document: &[u8], open_id: &OpenId) -> Result<Metadata, String> {
    let document: Document = serde_json::from_slice(document)
        .map_err(|_| "lacks what a provider must say".to_owned())?;
    // Else the document of one provider could stand for another (OpenID Connect Discovery §4.3).
    if !is_document_issuer(&document.issuer, open_id) {
        let said = &document.issuer;
        return Err(format!(
            "it says that its issuer is {said}, not {}",
            open_id.issuer
        ));
    }
    let endpoint = |name: &str, text: &str| own_or_https(&open_id.issuer, name, text);
    let methods = document.token_endpoint_auth_methods_supported;
    Ok(Metadata {
        authorization_endpoint: endpoint(
            "authorization_endpoint",
            &document.authorization_endpoint,
        )?,
        token_endpoint: endpoint("token_endpoint", &document.token_endpoint)?,
        jwks_uri: endpoint("jwks_uri", &document.jwks_uri)?,
        userinfo_endpoint: document
            .userinfo_endpoint
            .map(|text| endpoint("userinfo_endpoint", &text))
            .transpose()?,
        names_itself: document.authorization_response_iss_parameter_supported,
        secret_methods: SecretMethods::listed(methods.as_deref()),
        issuer: document.issuer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::examples::open_id;
    use crate::provider::settings::Flavour;
    use serde_json::json;

    fn document(issuer: &str) -> Value {
        json!({
            "issuer": issuer,
            "authorization_endpoint": "https://login.example.com/authorize",
            "token_endpoint": "https://tokens.example.net/token",
            "jwks_uri": "https://login.example.com/keys",
        })
    }

    fn judged(document: &Value, open_id: &OpenId) -> Result<Metadata, String> {
        judge(document.to_string().as_bytes(), open_id)
    }

    #[test]
    fn a_document_stands_for_the_issuer_that_was_asked_and_no_other() {
        let asked = open_id("https://login.example.com", Flavour::Plain);
        assert!(judged(&document("https://login.example.com"), &asked).is_ok());
        for other in [
            "https://login.example.com/",
            "https://LOGIN.example.com",
            "https://login.example.com/a",
            "http://login.example.com",
            "https://evil.example",
        ] {
            assert!(judged(&document(other), &asked).is_err(), "{other}");
        }
    }

    #[test]
    fn endpoints_are_https_but_for_those_at_an_issuer_on_loopback() {
        let asked = open_id("http://127.0.0.1:3000", Flavour::Plain);
        let mut document = document("http://127.0.0.1:3000");
        document["token_endpoint"] = json!("http://127.0.0.1:3000/token");
        assert!(judged(&document, &asked).is_ok());
        for plain in [
            "http://127.0.0.1:3001/token",
            "http://example.com/token",
            "x",
        ] {
            document["token_endpoint"] = json!(plain);
            assert!(judged(&document, &asked).is_err(), "{plain}");
        }
    }
}
