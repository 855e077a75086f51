//! Who may ask the operator's API: whoever can read the keys folder, with a program of their own.
//!
//! The listener is on loopback, which keeps out neither other people on the machine nor a page in
//! the operator's browser. The token keeps out the first. A page could not send it, but what it can
//! do is refused before: a request with an Origin, and one for a host by name, which somebody else's
//! DNS may have pointed here.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HOST, ORIGIN};

use gateway_core::protocol::bearer::BearerPresentation;
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, SecretHash};

/// Why a request is refused before it is looked at.
pub(super) fn check(headers: &HeaderMap, token: Option<&SecretHash>) -> Result<(), Reason> {
    if headers.contains_key(ORIGIN) || !is_for_an_address(headers) {
        return Err(Reason::AdminRequestForeign);
    }
    let lines = headers
        .get_all(AUTHORIZATION)
        .iter()
        .map(|line| line.as_bytes());
    let presented = match BearerPresentation::read(lines) {
        BearerPresentation::Token(bearer) => Secret::presented(bearer.as_str()),
        _ => return Err(Reason::AdminTokenWrong),
    };
    if token.is_some_and(|token| token.matches(&presented)) {
        Ok(())
    } else {
        Err(Reason::AdminTokenWrong)
    }
}

/// Whether Host, which must stand once, is an address or `localhost`: neither can be pointed
/// elsewhere by DNS.
fn is_for_an_address(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(authority) = host
        .to_str()
        .unwrap_or_default()
        .parse::<http::uri::Authority>()
    else {
        return false;
    };
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(lines: &[(&'static str, &str)]) -> Result<(), Reason> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        check(&headers, Some(&Secret::presented("right").hash()))
    }

    #[test]
    fn only_a_program_with_the_token_is_let_in() {
        let token = ("authorization", "Bearer right");
        for host in ["127.0.0.1:9090", "[::1]:9090", "localhost", "10.0.0.7:9090"] {
            assert_eq!(checked(&[("host", host), token]), Ok(()), "{host}");
        }
        let local = ("host", "127.0.0.1:9090");
        for wrong in [
            vec![local],
            vec![local, ("authorization", "Bearer wrong")],
            vec![local, ("authorization", "Basic cmlnaHQ=")],
            vec![local, token, token],
        ] {
            assert_eq!(checked(&wrong), Err(Reason::AdminTokenWrong), "{wrong:?}");
        }
        for foreign in [
            vec![token],
            vec![("host", "admin.example.com:9090"), token],
            vec![("host", "127.0.0.1.example.com"), token],
            vec![("host", "user@127.0.0.1"), ("origin", "null"), token],
            vec![local, ("origin", "http://127.0.0.1:9090"), token],
            vec![local, local, token],
        ] {
            let refused = checked(&foreign);
            assert_eq!(refused, Err(Reason::AdminRequestForeign), "{foreign:?}");
        }
        let headers = HeaderMap::from_iter([(HOST, "localhost".parse().unwrap())]);
        assert_eq!(check(&headers, None), Err(Reason::AdminTokenWrong));
    }
}
