//! Which paths are the gateway's own.

use super::*;

fn mounts() -> Vec<Mount> {
    [("notes", ""), ("files", "/files")]
        .map(|(name, prefix)| Mount {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        })
        .to_vec()
}

#[test]
fn a_backends_paths_are_not_the_gateways() {
    for path in [
        "/mcp",
        "/mcp/",
        "/sse",
        "/messages",
        "/files/mcp",
        "/files",
        "/mcp/x",
        "/authorize/x",
        "/tokens",
        "/nowhere/server-card",
    ] {
        assert_eq!(Endpoint::find(path, &mounts()), None, "{path}");
    }
}

#[test]
fn everything_well_known_is_the_gateways_known_or_not() {
    for path in [
        "/.well-known",
        "/.well-known/",
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/mcp",
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/oauth-protected-resource/nowhere",
        "/.well-known/oauth-protected-resource/mcp/x",
        "/.well-known/oauth-protected-resourcex",
        "/.well-known/oauth-protected-resourcemcp",
        "/mcp/.well-known/oauth-protected-resource",
        "/mcp/.well-known/openid-configuration",
        "/files/mcp/.well-known/x",
        "/files/.well-known/x",
        "/sse/.well-known/x",
    ] {
        assert_eq!(
            Endpoint::find(path, &mounts()),
            Some(Endpoint::Absent),
            "{path}"
        );
    }
}

#[test]
fn protected_resource_metadata_is_found_for_every_form_of_a_mount() {
    for (suffix, mount) in [
        ("", "notes"),
        ("/", "notes"),
        ("/mcp", "notes"),
        ("/mcp/", "notes"),
        ("/sse", "notes"),
        ("/sse/", "notes"),
        ("/messages", "notes"),
        ("/files", "files"),
        ("/files/", "files"),
        ("/files/mcp", "files"),
        ("/files/sse/", "files"),
    ] {
        let path = format!("{}{suffix}", path::PROTECTED_RESOURCE_METADATA);
        let found = Endpoint::find(&path, &mounts());
        let expected = Endpoint::ProtectedResourceMetadata {
            path: suffix.to_owned(),
            mount: mount.to_owned(),
        };
        assert_eq!(found, Some(expected), "{path}");
    }
}

#[test]
fn no_page_that_people_see_is_open_to_scripts_of_other_sites() {
    for endpoint in [
        Endpoint::Home,
        Endpoint::Authorize,
        Endpoint::Login,
        Endpoint::Logout,
        Endpoint::Consent,
        Endpoint::Setup,
    ] {
        assert!(!endpoint.is_cross_origin(), "{endpoint:?}");
    }
}
