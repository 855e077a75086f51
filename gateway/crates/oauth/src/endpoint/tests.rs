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
            Some(MatchedEndpoint {
                endpoint: Endpoint::Absent,
                subject: None
            }),
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
        let path = format!("{}{suffix}", Endpoint::ProtectedResourceMetadata.path());
        let found = Endpoint::find(&path, &mounts()).unwrap();
        let subject = found.subject.unwrap();
        assert_eq!(
            found.endpoint,
            Endpoint::ProtectedResourceMetadata,
            "{path}"
        );
        assert_eq!(
            (subject.path.as_str(), subject.mount.name.as_str()),
            (suffix, mount)
        );
    }
}

#[test]
fn no_page_that_people_see_is_open_to_scripts_of_other_sites() {
    for endpoint in [
        Endpoint::Home,
        Endpoint::Authorize,
        Endpoint::Login,
        Endpoint::ProviderLogin,
        Endpoint::ProviderCallback,
        Endpoint::Connect,
        Endpoint::ConnectCallback,
        Endpoint::Logout,
        Endpoint::Consent,
        Endpoint::Setup,
    ] {
        assert_eq!(endpoint.caller(), Caller::Person, "{endpoint:?}");
    }
}

#[test]
fn what_gives_something_asks_for_the_audit_log_by_the_method_that_gives_it() {
    for row in TABLE
        .iter()
        .filter(|row| row.audit_log == AuditLog::Required)
    {
        let expected = match row.endpoint {
            // The browser is sent there.
            Endpoint::ProviderCallback | Endpoint::ConnectCallback => Method::GET,
            _ => Method::POST,
        };
        assert_eq!(row.endpoint.acts_by(), expected, "{row:?}");
    }
    for endpoint in [Endpoint::ProviderCallback, Endpoint::ConnectCallback] {
        assert_eq!(endpoint.audit_log(), AuditLog::Required);
    }
}

#[test]
fn every_path_of_the_table_leads_to_its_own_row() {
    for row in TABLE {
        let path = match row.path {
            Path::Below(folder) => format!("{folder}x"),
            Path::UnderMcp(name) => format!("/files/mcp{name}"),
            Path::OfAccount(end) => format!("/connect/notes{end}"),
            Path::OfProvider(end) => format!("/login/corp{end}"),
            _ => row.endpoint.path().to_owned(),
        };
        let found = Endpoint::find(&path, &mounts()).map(|matched| matched.endpoint);
        assert_eq!(found, Some(row.endpoint), "{path}");
    }
}

#[test]
fn a_provider_has_one_name_and_its_paths_are_those_of_the_table() {
    let found = |path| Endpoint::find(path, &mounts()).map(|matched| matched.endpoint);
    assert_eq!(found("/login/keys"), Some(Endpoint::ProviderLogin));
    assert_eq!(found("/login/keys/keys"), Some(Endpoint::ProviderKeys));
    for path in [
        "/login/",
        "/login//callback",
        "/login/a/b",
        "/login/a/b/callback",
        "/loginx/a",
    ] {
        assert_eq!(found(path), None, "{path}");
    }
}

#[test]
fn a_server_card_is_about_the_backend_whose_path_it_stands_under() {
    for (path, mount) in [
        ("/mcp/server-card", "notes"),
        ("/files/mcp/server-card", "files"),
        ("/.well-known/mcp/server-card.json", "notes"),
    ] {
        let found = Endpoint::find(path, &mounts()).unwrap();
        assert_eq!(found.subject.unwrap().mount.name, mount, "{path}");
    }
}

#[test]
fn a_body_is_read_where_one_is_submitted_and_nowhere_else() {
    for row in TABLE {
        let reads = row.endpoint.body_limit() > 0;
        assert_eq!(reads, row.endpoint.takes(&Method::POST), "{row:?}");
        assert!(row.body.logged_in >= row.body.anybody, "{row:?}");
    }
}
