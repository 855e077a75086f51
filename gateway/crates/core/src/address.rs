//! Which addresses an outgoing request may go to: public unicast only (RFC 6890 and the registries
//! it names), however the address is dressed up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is public unicast. Addresses that carry an IPv4 address inside (mapped,
/// NAT64, 6to4, Teredo, …) are never: a translator on the way would reach the inner one.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // This network, private, loopback.
        (0 | 10 | 127, ..) => true,
        // Shared address space of carriers, RFC 6598.
        (100, 64..=127, _) => true,
        // Link-local: cloud metadata services live here.
        (169, 254, _) => true,
        (172, 16..=31, _) => true,
        // IETF protocol assignments, documentation, the old 6to4 relay, private.
        (192, 0, 0 | 2) | (192, 88, 99) | (192, 168, _) => true,
        // AS112 and automatic multicast tunnelling are services of the network, not of hosts.
        (192, 31, 196) | (192, 52, 193) | (192, 175, 48) => true,
        // Benchmarking, documentation.
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        // Multicast, reserved, broadcast.
        (224.., ..) => true,
        _ => false,
    };
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, ..] = address.segments();
    // Only 2000::/3 is global unicast today; that leaves out loopback, mapped and compatible
    // addresses, NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), unique local, link-local, multicast.
    let global_unicast = a & 0xe000 == 0x2000;
    let special = match (a, b) {
        // IETF protocol assignments with Teredo, benchmarking, ORCHID; 2001::/23.
        (0x2001, 0..=0x01ff) => true,
        // Documentation.
        (0x2001, 0x0db8) | (0x3fff, 0..=0x0fff) => true,
        // 6to4.
        (0x2002, _) => true,
        // Direct delegation AS112.
        (0x2620, 0x004f) => c == 0x8000,
        // Segment routing identifiers, RFC 9602.
        (0x5f00, _) => true,
        _ => false,
    };
    global_unicast && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn private_special_and_disguised_addresses_are_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn public_unicast_is_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001:80b::200e",
            "2001:4860:4860::8888",
        ] {
            assert!(public(text), "{text}");
        }
    }
}
