//! Where a backend's redirect leads, and whether it is followed.

use http::StatusCode;

use super::backend::Backend;
use super::endpoint::path_and_query;

/// What becomes of a redirect of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// None: the response goes to the client.
    No,
    /// To another path of the same backend, method and body unchanged: followed once.
    Within(String),
    /// Anything else. Where it leads is not for clients to know.
    Elsewhere,
}

/// Judges a status and its `Location`.
pub fn redirect(
    backend: &Backend,
    from: &str,
    status: StatusCode,
    location: Option<&str>,
) -> Redirect {
    match (status.as_u16(), location) {
        (307 | 308, Some(location)) => match within(backend, from, location) {
            Some(target) if target != from => Redirect::Within(target),
            _ => Redirect::Elsewhere,
        },
        (300..=303 | 305..=308, _) => Redirect::Elsewhere,
        _ => Redirect::No,
    }
}

fn within(backend: &Backend, from: &str, location: &str) -> Option<String> {
    let base = url::Url::parse(&backend.origin()).ok()?.join(from).ok()?;
    let to = base.join(location).ok()?;
    if to.origin() != base.origin() || !to.username().is_empty() {
        return None;
    }
    Some(path_and_query(&to))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gateway_core::protocol::resource::Mount;

    use super::*;
    use crate::backend::Address;

    fn backend() -> Backend {
        Backend {
            mount: Mount {
                name: "notes".into(),
                prefix: "/notes".into(),
            },
            address: Address::Tcp {
                host: "backend".into(),
                port: 9000,
                tls: false,
            },
            host: "backend:9000".into(),
            mcp_path: "/mcp".into(),
            sse_path: "/v1/sse".into(),
            headers: Vec::new(),
            approval_required: Default::default(),
            token_header: None,
            account: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(5),
            start_timeout: Duration::from_secs(5),
            is_on_stdio: false,
            starts_with_us: false,
            pages: None,
            aggregate: None,
        }
    }

    #[test]
    fn only_a_redirect_within_the_backend_is_followed() {
        let judge = |status: u16, location: Option<&str>| {
            redirect(
                &backend(),
                "/mcp",
                StatusCode::from_u16(status).unwrap(),
                location,
            )
        };
        assert_eq!(judge(200, None), Redirect::No);
        assert_eq!(judge(201, Some("http://backend:9000/x")), Redirect::No);
        assert_eq!(judge(304, None), Redirect::No);
        assert_eq!(
            judge(307, Some("http://backend:9000/mcp/")),
            Redirect::Within("/mcp/".into())
        );
        assert_eq!(
            judge(308, Some("/mcp/?a=b")),
            Redirect::Within("/mcp/?a=b".into())
        );
        // Relative to what was asked for, wherever else the backend listens.
        for (from, location, expected) in [
            ("/v2/mcp", "mcp/", "/v2/mcp/"),
            ("/v2/mcp", "?moved=1", "/v2/mcp?moved=1"),
            ("/v2/mcp", "../mcp", "/mcp"),
            ("/v1/sse", "stream?x=1", "/v1/stream?x=1"),
        ] {
            let led = redirect(
                &backend(),
                from,
                StatusCode::TEMPORARY_REDIRECT,
                Some(location),
            );
            assert_eq!(led, Redirect::Within(expected.into()), "{from} {location}");
        }
        for (status, location) in [
            (307, Some("http://evil/mcp/")),
            (307, Some("https://backend:9000/mcp/")),
            (307, Some("//evil/")),
            (307, None),
            (307, Some("/mcp")),
            (302, Some("/mcp/")),
            (301, Some("/mcp/")),
            (303, None),
            (300, None),
        ] {
            assert_eq!(
                judge(status, location),
                Redirect::Elsewhere,
                "{status} {location:?}"
            );
        }
    }
}
