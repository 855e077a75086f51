//! The metadata documents of well-known clients, for when theirs can't be fetched: some hosts
//! answer programs in data centres with a bot check. A client that saw that documents are served
//! does not fall back to registering itself.
//!
//! Facts as published by the vendors, November 2026. A fetched document always wins.

use serde_json::json;

use crate::client::metadata_document::DocumentUrl;

struct Known {
    id: &'static str,
    name: &'static str,
    redirect_uris: &'static [&'static str],
}

const KNOWN: &[Known] = &[
    Known {
        id: "https://chatgpt.com/oauth/client.json",
        name: "ChatGPT",
        redirect_uris: &["https://chatgpt.com/connector_platform_oauth_redirect"],
    },
    Known {
        id: "https://chatgpt.com/oauth/codex/client.json",
        name: "Codex",
        redirect_uris: &["http://127.0.0.1/callback", "http://localhost/callback"],
    },
    Known {
        id: "https://claude.ai/oauth/mcp-oauth-client-metadata",
        name: "Claude",
        redirect_uris: &[
            "https://claude.ai/api/mcp/auth_callback",
            "https://claude.com/api/mcp/auth_callback",
        ],
    },
    Known {
        id: "https://claude.ai/oauth/claude-code-client-metadata",
        name: "Claude Code",
        redirect_uris: &["http://localhost/callback", "http://127.0.0.1/callback"],
    },
    Known {
        id: "https://vscode.dev/oauth/client-metadata.json",
        name: "Visual Studio Code",
        redirect_uris: &["http://127.0.0.1:33418/", "https://vscode.dev/redirect"],
    },
    Known {
        id: "https://cursor.com/oauth/mcp-client.json",
        name: "Cursor",
        redirect_uris: &[
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost:8787/callback",
        ],
    },
    Known {
        id: "https://opencode.ai/oauth/opencode/client.json",
        name: "opencode",
        redirect_uris: &["http://127.0.0.1:19876/mcp/oauth/callback"],
    },
];

/// The built-in document of a client, in the form in which it would be fetched.
pub fn document(address: &DocumentUrl) -> Option<Vec<u8>> {
    let id = address.id().as_str();
    if let Some(known) = KNOWN.iter().find(|known| known.id == id) {
        return Some(rendered(id, known.name, known.redirect_uris));
    }
    // ChatGPT and Codex have one document a connection as well, named by its callback.
    let rest = id.strip_prefix("https://chatgpt.com/oauth/")?;
    let callback = |text: &'static str, name: &str| {
        let callback = text_between(rest, text, "/client.json")?;
        let uri = match name {
            "Codex" => format!("http://127.0.0.1/callback/{callback}"),
            _ => format!("https://chatgpt.com/connector/oauth/{callback}"),
        };
        Some(rendered(id, name, &[&uri]))
    };
    callback("codex/", "Codex").or_else(|| callback("", "ChatGPT"))
}

fn text_between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let inner = text.strip_prefix(before)?.strip_suffix(after)?;
    let plain = !inner.is_empty()
        && inner
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    plain.then_some(inner)
}

fn rendered(id: &str, name: &str, redirect_uris: &[&str]) -> Vec<u8> {
    json!({
        "client_id": id,
        "client_name": name,
        "redirect_uris": redirect_uris,
        "token_endpoint_auth_method": "none",
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientId;
    use crate::client::metadata_document::judge;
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
        for known in KNOWN {
            assert_eq!(client(known.id).unwrap().name.as_deref(), Some(known.name));
        }
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
            ["http://127.0.0.1/callback/Ab-1"]
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
