//! Who a request comes from, for limits and the log.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

/// The address that a request is counted under: the peer of the connection, or, where that is a
/// trusted proxy, the last address in `X-Forwarded-For` that is none. What a client wrote itself
/// stands further left and is never reached. A unix socket counts as loopback.
pub(super) fn address(
    connection: Option<IpAddr>,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> IpAddr {
    let mut address = connection
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .to_canonical();
    if trusted.is_empty() || !is_trusted(address, trusted) {
        return address;
    }
    let lines: Vec<&[u8]> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // Entry by entry: a client may have begun the line with bytes that are no text.
    let entries = lines
        .iter()
        .flat_map(|line| line.split(|byte| *byte == b','));
    for entry in entries.rev() {
        let text = str::from_utf8(entry).ok();
        let Some(named) = text.and_then(|text| parse(text.trim())) else {
            break;
        };
        address = named;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    address
}

/// Whether an address is in one of the networks.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// One holder of IPv6 addresses has at least a /64 of them.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

/// An address as proxies write it: bare, or with a port.
fn parse(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().or_else(|_| {
        entry
            .parse()
            .map(|socket: std::net::SocketAddr| socket.ip())
    });
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(connection: &str, lines: &[&str]) -> String {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        found_in(connection, &lines)
    }

    fn found_in(connection: &str, lines: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line).unwrap();
            headers.append("x-forwarded-for", value);
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        address(Some(connection.parse().unwrap()), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(found("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(found("10.1.1.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(found("::ffff:10.1.1.1", &["198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn what_the_client_wrote_itself_is_never_reached() {
        assert_eq!(
            found("10.1.1.1", &["1.1.1.1, 198.51.100.7, 10.2.2.2"]),
            "198.51.100.7"
        );
        assert_eq!(
            found("10.1.1.1", &["1.1.1.1", "198.51.100.7"]),
            "198.51.100.7"
        );
        assert_eq!(
            found("10.1.1.1", &["198.51.100.7, nonsense, 10.2.2.2"]),
            "10.2.2.2"
        );
        assert_eq!(found("10.1.1.1", &[]), "10.1.1.1");
        assert_eq!(found("10.1.1.1", &["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(found("10.1.1.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
    }

    #[test]
    fn what_is_no_text_hides_nothing_that_a_proxy_added() {
        for line in [&b"\xff, 198.51.100.7"[..], b"1.1.1.1\xc3\xbc,198.51.100.7"] {
            assert_eq!(found_in("10.1.1.1", &[line]), "198.51.100.7");
        }
        let lines: [&[u8]; 2] = [b"\xff", b"198.51.100.7, 10.2.2.2"];
        assert_eq!(found_in("10.1.1.1", &lines), "198.51.100.7");
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }
}
