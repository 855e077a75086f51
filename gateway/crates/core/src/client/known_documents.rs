//! The metadata documents of well-known clients, for when theirs can't be fetched: some hosts
//! answer programs in data centres with a bot check. A client that saw that documents are served
//! does not fall back to registering itself.
//!
//! Facts as published by the vendors, November 2026. A fetched document always wins. Cursor's
//! document is known from what others saw of it, and may list more than stands here. The documents
//! of ChatGPT's single connections are taken to offer what its common one offers. fast-agent's is
//! `docs/docs/oauth/client-v3.json` of its repository, from which its site is made.

use serde_json::json;

use crate::client::metadata_document::DocumentUrl;
use crate::text_type::is_alphanumeric_or;

/// ChatGPT signs with RS256 where it may, and does without otherwise.
const CHATGPT_KEYS: Option<&str> = Some("https://chatgpt.com/oauth/jwks.json");

/// Those that have no keys: the id of each, its name and its redirect URIs.
const KNOWN: &[(&str, &str, &[&str])] = &[
    (
        "https://chatgpt.com/oauth/codex/client.json",
        "Codex",
        &["http://127.0.0.1/callback", "http://localhost/callback"],
    ),
    (
        "https://claude.ai/oauth/mcp-oauth-client-metadata",
        "Claude",
        &[
            "https://claude.ai/api/mcp/auth_callback",
            "https://claude.com/api/mcp/auth_callback",
        ],
    ),
    (
        "https://claude.ai/oauth/claude-code-client-metadata",
        "Claude Code",
        &["http://localhost/callback", "http://127.0.0.1/callback"],
    ),
    (
        "https://vscode.dev/oauth/client-metadata.json",
        "Visual Studio Code",
        &["http://127.0.0.1:33418/", "https://vscode.dev/redirect"],
    ),
    (
        "https://cursor.com/oauth/mcp-client.json",
        "Cursor",
        &[
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "https://www.cursor.com/bot/mcp/oauth/callback",
            "http://localhost:8787/callback",
            "http://127.0.0.1:8787/callback",
        ],
    ),
    (
        "https://zed.dev/oauth/client-metadata.json",
        "Zed",
        &["http://127.0.0.1/callback"],
    ),
    (
        "https://opencode.ai/oauth/opencode/client.json",
        "opencode",
        &["http://127.0.0.1/callback", "http://localhost/callback"],
    ),
    (
        "https://fast-agent.ai/oauth/client-v3.json",
        "fast-agent",
        &["http://127.0.0.1/callback"],
    ),
];

/// The built-in document of a client, in the form in which it would be fetched.
pub fn document(address: &DocumentUrl) -> Option<Vec<u8>> {
    let id = address.id().as_str();
    if let Some((_, name, redirect_uris)) = KNOWN.iter().find(|(known, ..)| *known == id) {
        return Some(rendered(id, name, redirect_uris, None));
    }
    // ChatGPT and Codex have one document a connection as well, named by its callback.
    let rest = id.strip_prefix("https://chatgpt.com/oauth/")?;
    if rest == "client.json" {
        let uri = "https://chatgpt.com/connector_platform_oauth_redirect";
        return Some(rendered(id, "ChatGPT", &[uri], CHATGPT_KEYS));
    }
    if let Some(callback) = text_between(rest, "codex/", "/client.json") {
        let uris =
            ["127.0.0.1", "localhost"].map(|host| format!("http://{host}/callback/{callback}"));
        return Some(rendered(id, "Codex", &[&uris[0], &uris[1]], None));
    }
    let callback = text_between(rest, "", "/client.json")?;
    let uri = format!("https://chatgpt.com/connector/oauth/{callback}");
    Some(rendered(id, "ChatGPT", &[&uri], CHATGPT_KEYS))
}

fn text_between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let inner = text.strip_prefix(before)?.strip_suffix(after)?;
    let plain = !inner.is_empty() && is_alphanumeric_or(inner, b"-_");
    plain.then_some(inner)
}

fn rendered(id: &str, name: &str, redirect_uris: &[&str], keys: Option<&str>) -> Vec<u8> {
    let mut document = json!({
        "client_id": id,
        "client_name": name,
        "redirect_uris": redirect_uris,
        "token_endpoint_auth_method": "none",
    });
    if let Some(keys) = keys {
        document["token_endpoint_auth_method"] = "private_key_jwt".into();
        document["token_endpoint_auth_methods_supported"] = json!(["none", "private_key_jwt"]);
        document["jwks_uri"] = keys.into();
    }
    document.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::keys::KeySource;
    use crate::client::metadata_document::judge;
    use crate::client::{ClientAuthentication, ClientId};
    use crate::clock::Timestamp;
    use crate::protocol::redirect_uri::PrivateUseSchemes;

    fn client(id: &str) -> Option<crate::client::Client> {
        let address = DocumentUrl::parse(&ClientId::new(id))?.ok()?;
        let document = document(&address)?;
        let schemes = PrivateUseSchemes::default();
        Some(judge(&address, &document, &schemes, Timestamp::from_secs(1)).unwrap())
    }

    #[test]
    fn every_built_in_document_passes_the_judge() {
        let chatgpt = ("https://chatgpt.com/oauth/client.json", "ChatGPT", &[][..]);
        for (id, name, _) in KNOWN.iter().chain([&chatgpt]) {
            assert_eq!(client(id).unwrap().name.as_deref(), Some(*name));
        }
    }

    #[test]
    fn chatgpt_may_sign_and_may_do_without() {
        for id in [
            "https://chatgpt.com/oauth/client.json",
            "https://chatgpt.com/oauth/x/client.json",
        ] {
            let ClientAuthentication::NoneOrPrivateKeyJwt { keys } =
                client(id).unwrap().authentication
            else {
                panic!("{id}");
            };
            let at = "https://chatgpt.com/oauth/jwks.json".to_owned();
            assert_eq!(keys, KeySource::JwksUri(at));
        }
        let codex = client("https://chatgpt.com/oauth/codex/client.json").unwrap();
        assert_eq!(codex.authentication, ClientAuthentication::None);
    }

    #[test]
    fn the_documents_of_single_connections_are_known_by_their_form() {
        assert_eq!(
            client("https://chatgpt.com/oauth/Ab-1_c/client.json")
                .unwrap()
                .redirect_uris,
            ["https://chatgpt.com/connector/oauth/Ab-1_c"]
        );
        assert_eq!(
            client("https://chatgpt.com/oauth/codex/Ab-1/client.json")
                .unwrap()
                .redirect_uris,
            [
                "http://127.0.0.1/callback/Ab-1",
                "http://localhost/callback/Ab-1"
            ]
        );
        for id in [
            "https://chatgpt.com/oauth/a/b/client.json",
            "https://chatgpt.com.evil.example/oauth/client.json",
            "https://chatgpt.com/oauth/a%2fb/client.json",
            "https://chatgpt.com/oauth//client.json",
        ] {
            assert!(client(id).is_none(), "{id}");
        }
    }
}
