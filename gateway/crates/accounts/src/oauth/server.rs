//! An authorization server, as far as a client has to know it (RFC 8414, OpenID Connect Discovery 1.0).

use serde::{Deserialize, Serialize};
use url::Url;

use crate::oauth::bounds;
use crate::oauth::failure::Failure;
use gateway_fetch::own_or_https;

/// The scope by which some give a refresh token (OpenID Connect Core §11).
pub(crate) const OFFLINE: &str = "offline_access";

/// How the gateway can show which client it is.
const UNDERSTOOD: [&str; 3] = ["none", "client_secret_basic", "client_secret_post"];

/// An authorization server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Its issuer, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authorization_endpoint: Option<String>,
    pub(crate) token_endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revocation_endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) registration_endpoint: Option<String>,
    /// Whether its answers to the browser name it (RFC 9207).
    #[serde(default)]
    pub(crate) names_itself: bool,
    /// Whether it takes the address of a metadata document for a client id.
    #[serde(default)]
    pub(crate) takes_documents: bool,
    /// How clients may authenticate, of what is understood here, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) methods: Option<Vec<String>>,
    /// Whether it knows the scope `offline_access`.
    #[serde(default)]
    pub(crate) knows_offline: bool,
}

/// Its metadata document, as far as it is used.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: String,
    revocation_endpoint: Option<String>,
    registration_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    client_id_metadata_document_supported: bool,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    scopes_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
}

/// The URL of one of its endpoints.
pub(crate) fn endpoint_url(endpoint: &str) -> Result<Url, Failure> {
    Url::parse(endpoint).map_err(|_| Failure::unusable(format!("{endpoint} is no URL")))
}

impl Server {
    /// The one that this document of the issuer `asked` describes.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(document: &[u8], asked: &str) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(document)
            .map_err(|_| "lacks what an authorization server must say".to_owned())?;
        // Else the document of one could stand for another (RFC 8414 §3.3). Many add a slash or leave it out.
        let bare = |text: &str| text.trim_end_matches('/').to_owned();
        if bare(&document.issuer) != bare(asked) {
            let said = &document.issuer;
            return Err(format!("it says that its issuer is {said}, not {asked}"));
        }
        if let Some(methods) = &document.code_challenge_methods_supported
            && !methods.iter().any(|method| method == "S256")
        {
            return Err("it does not take PKCE with S256".to_owned());
        }
        let endpoint = |name: &str, text: String| {
            let text = bounds::text(name, text, bounds::NAME)?;
            own_or_https(asked, name, &text).map(|_| text)
        };
        let optional = |name: &str, text: Option<String>| {
            let text = text.map(|text| endpoint(name, text));
            text.transpose()
        };
        Ok(Self {
            authorization_endpoint: optional(
                "authorization_endpoint",
                document.authorization_endpoint,
            )?,
            token_endpoint: endpoint("token_endpoint", document.token_endpoint)?,
            revocation_endpoint: optional("revocation_endpoint", document.revocation_endpoint)?,
            registration_endpoint: optional(
                "registration_endpoint",
                document.registration_endpoint,
            )?,
            names_itself: document.authorization_response_iss_parameter_supported,
            takes_documents: document.client_id_metadata_document_supported,
            methods: document.token_endpoint_auth_methods_supported.map(|all| {
                let is_said = |method: &&str| all.iter().any(|it| it == *method);
                let known = UNDERSTOOD.iter().copied().filter(is_said);
                known.map(str::to_owned).collect()
            }),
            knows_offline: document
                .scopes_supported
                .is_some_and(|all| all.iter().any(|it| it == OFFLINE)),
            issuer: Some(bounds::text("issuer", document.issuer, bounds::NAME)?),
        })
    }

    /// What names it among others.
    pub(crate) fn name(&self) -> &str {
        self.issuer.as_deref().unwrap_or(&self.token_endpoint)
    }

    /// Whether it says that clients may authenticate so; `None` where it says nothing of it.
    pub(crate) fn takes(&self, method: &str) -> Option<bool> {
        let methods = self.methods.as_ref()?;
        Some(methods.iter().any(|it| it == method))
    }

    /// Where the metadata document of an issuer may stand, in the order of MCP's authorization page.
    pub(crate) fn documents(issuer: &str) -> Vec<Url> {
        let Ok(url) = Url::parse(issuer) else {
            return Vec::new();
        };
        let path = url.path().trim_end_matches('/').to_owned();
        let at = |path: &str| {
            let mut at = url.clone();
            at.set_path(path);
            at.set_query(None);
            at
        };
        let mut documents = vec![
            at(&format!("/.well-known/oauth-authorization-server{path}")),
            at(&format!("/.well-known/openid-configuration{path}")),
        ];
        if !path.is_empty() {
            documents.push(at(&format!("{path}/.well-known/openid-configuration")));
        }
        documents
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn document(issuer: &str) -> Value {
        json!({
            "issuer": issuer,
            "authorization_endpoint": "https://as.example/authorize",
            "token_endpoint": "https://as.example/token",
        })
    }

    fn parsed(document: &Value, asked: &str) -> Result<Server, String> {
        Server::parse(document.to_string().as_bytes(), asked)
    }

    #[test]
    fn a_document_stands_for_the_issuer_that_was_asked_and_no_other() {
        let asked = "https://as.example/t";
        for same in [asked, "https://as.example/t/"] {
            assert!(parsed(&document(same), asked).is_ok(), "{same}");
        }
        for other in [
            "https://as.example",
            "https://as.example.evil/t",
            "http://as.example/t",
        ] {
            assert!(parsed(&document(other), asked).is_err(), "{other}");
        }
    }

    #[test]
    fn endpoints_are_https_or_at_the_issuer_and_pkce_is_s256() {
        let loopback = "http://127.0.0.1:9000";
        let mut said = document(loopback);
        said["token_endpoint"] = json!("http://127.0.0.1:9000/token");
        assert!(parsed(&said, loopback).is_ok());
        for wrong in ["http://127.0.0.1:9001/token", "http://a.example/token", "x"] {
            said["token_endpoint"] = json!(wrong);
            assert!(parsed(&said, loopback).is_err(), "{wrong}");
        }
        let asked = "https://as.example";
        let mut said = document(asked);
        said["code_challenge_methods_supported"] = json!(["plain"]);
        assert!(parsed(&said, asked).is_err());
        said["code_challenge_methods_supported"] = json!(["plain", "S256"]);
        assert!(parsed(&said, asked).is_ok());
    }

    #[test]
    fn of_a_large_document_little_is_kept() {
        let asked = "https://as.example";
        let mut said = document(asked);
        let many: Vec<String> = (0..5_000).map(|number| format!("scope-{number}")).collect();
        said["scopes_supported"] = json!([many.clone(), vec![OFFLINE.to_owned()]].concat());
        said["token_endpoint_auth_methods_supported"] =
            json!([many, vec!["client_secret_post".to_owned()]].concat());
        let server = parsed(&said, asked).unwrap();
        assert!(server.knows_offline);
        assert_eq!(server.takes("client_secret_post"), Some(true));
        assert_eq!(server.takes("client_secret_basic"), Some(false));
        assert!(serde_json::to_string(&server).unwrap().len() < 500);
        said["token_endpoint"] = json!(format!("https://as.example/{}", "x".repeat(2048)));
        let refused = parsed(&said, asked).unwrap_err();
        assert!(refused.contains("token_endpoint is longer"), "{refused}");
    }

    #[test]
    fn its_document_is_looked_for_where_both_standards_put_it() {
        let of = |issuer| {
            let urls = Server::documents(issuer);
            urls.iter().map(Url::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            of("https://as.example"),
            [
                "https://as.example/.well-known/oauth-authorization-server",
                "https://as.example/.well-known/openid-configuration"
            ]
        );
        assert_eq!(
            of("https://as.example/t/"),
            [
                "https://as.example/.well-known/oauth-authorization-server/t",
                "https://as.example/.well-known/openid-configuration/t",
                "https://as.example/t/.well-known/openid-configuration"
            ]
        );
        assert!(of("x").is_empty());
    }
}
