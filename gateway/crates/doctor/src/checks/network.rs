//! Name, addresses, TLS, clock; and what stands in the way of programs.

use std::net::SocketAddr;
use std::time::Duration;

use super::judgement::all_well;
use crate::check::Check;
use crate::exchange::{Exchange, Failure, Reader, TlsFailure};
use crate::finding::Finding;
use crate::target::Target;
use gateway_core::address::is_public;
use gateway_core::clock::Timestamp;

/// A certificate that ends sooner is about to be forgotten.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// Skew that starts to matter, and skew that refuses assertions.
const SKEW_WARN: Duration = Duration::from_secs(30);
const SKEW_FAIL: Duration = Duration::from_secs(300);

/// How the name and its addresses answered.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) addresses: Result<Vec<SocketAddr>, Failure>,
    /// Each address, and why it took no connection.
    pub(crate) connections: Vec<(SocketAddr, Result<(), String>)>,
    /// The handshake; `None` where the URL is http.
    pub(crate) tls: Option<Result<Tls, Failure>>,
    pub(crate) now: Timestamp,
}

/// What a handshake agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    pub(crate) version: String,
    pub(crate) expires: Option<Timestamp>,
}

impl Network {
    /// Whether anything else can be asked at all.
    pub(crate) fn is_usable(&self) -> bool {
        let connected = self.connections.iter().any(|(_, outcome)| outcome.is_ok());
        connected && !matches!(self.tls, Some(Err(_)))
    }
}

/// All checks of the network.
pub(crate) fn network(target: &Target, network: &Network) -> Vec<Finding> {
    let mut findings = vec![https(target)];
    match &network.addresses {
        Ok(addresses) => {
            let list = addresses.iter().map(|address| address.ip().to_string());
            let list = list.collect::<Vec<_>>().join(", ");
            let summary = format!("{} is {list}", target.host());
            findings.push(Check::NameResolves.pass(summary));
            findings.push(public_address(target, addresses));
            findings.push(connects(&network.connections));
        }
        Err(failure) => {
            let finding = Check::NameResolves.fail(format!("{}: {failure}", target.host()));
            findings.push(finding);
        }
    }
    if let Some(tls) = &network.tls {
        findings.extend(handshake(tls, network.now));
    } else if target.mcp.scheme() == "http" {
        for check in [Check::TlsVersion, Check::TlsCertificate] {
            findings.push(check.skip("the URL is http"));
        }
    }
    findings
}

fn https(target: &Target) -> Finding {
    if target.mcp.scheme() == "https" {
        Check::Https.pass("the URL is https")
    } else if target.is_loopback() {
        Check::Https.warn("plain http, which only programs on this machine may use")
    } else {
        Check::Https.fail("plain http: tokens travel in the open")
    }
}

fn public_address(target: &Target, addresses: &[SocketAddr]) -> Finding {
    let check = Check::PublicAddress;
    let private: Vec<String> = addresses
        .iter()
        .map(SocketAddr::ip)
        .filter(|address| !is_public(*address))
        .map(|address| address.to_string())
        .collect();
    let (count, all) = (private.len(), addresses.len());
    let finding = match count {
        0 => return check.pass("all addresses are public"),
        _ if count < all => check.fail(format!("{count} of {all} addresses are not public")),
        _ => check.warn(format!(
            "{} is reached only from this machine or network",
            target.host()
        )),
    };
    finding.seen(private.join(", "))
}

fn connects(connections: &[(SocketAddr, Result<(), String>)]) -> Finding {
    let check = Check::Connects;
    let failures: Vec<String> = connections
        .iter()
        .filter_map(|(address, outcome)| Some(format!("{address}: {}", outcome.as_ref().err()?)))
        .collect();
    if failures.is_empty() {
        return check.pass("every address takes connections");
    }
    let finding = if failures.len() == connections.len() {
        check.fail("no address takes connections")
    } else {
        let (dead, all) = (failures.len(), connections.len());
        check.warn(format!("{dead} of {all} addresses take no connections"))
    };
    failures.into_iter().fold(finding, Finding::seen)
}

fn handshake(tls: &Result<Tls, Failure>, now: Timestamp) -> Vec<Finding> {
    let (version, certificate) = (Check::TlsVersion, Check::TlsCertificate);
    match tls {
        Ok(tls) => vec![
            version.pass(tls.version.clone()),
            certificate_lifetime(tls.expires, now),
        ],
        Err(Failure::Tls(TlsFailure::Certificate(why))) => {
            vec![certificate.fail(why.clone())]
        }
        Err(Failure::Tls(TlsFailure::Protocol(why))) => vec![version.fail(why.clone())],
        Err(failure) => vec![version.fail(failure.to_string())],
    }
}

fn certificate_lifetime(expires: Option<Timestamp>, now: Timestamp) -> Finding {
    let check = Check::TlsCertificate;
    match expires {
        Some(end) if end.since(now) < EXPIRES_SOON => {
            check.warn(format!("valid, but only until {end}"))
        }
        Some(end) => check.pass(format!("valid until {end}")),
        None => check.pass("valid"),
    }
}

/// The server's clock against ours, from the Date header of an answer that took `took`.
pub(crate) fn clock(date: Option<&str>, now: Timestamp) -> Finding {
    let check = Check::Clock;
    let Some(server) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return check
            .warn("the answers carry no Date header")
            .seen(format!("date: {date:?}"));
    };
    let skew = server.duration_since(now.to_system_time());
    let skew = skew.unwrap_or_else(|behind| behind.duration());
    let evidence = format!("date: {}; here it is {now}", date.unwrap_or_default());
    let summary = format!("the clocks differ by {} s", skew.as_secs());
    if skew > SKEW_FAIL {
        check.fail(summary).seen(evidence)
    } else if skew > SKEW_WARN {
        check.warn(summary).seen(evidence)
    } else {
        check.pass(summary)
    }
}

/// Redirects and bot pages among everything that a program asked for.
pub(crate) fn obstacles(log: &[Exchange]) -> Vec<Finding> {
    let mut redirects = Vec::new();
    let mut pages = Vec::new();
    for exchange in log.iter().filter(|e| e.reader == Reader::Program) {
        let Ok(answer) = &exchange.outcome else {
            continue;
        };
        if answer.is_bot_page() {
            pages.push(exchange.to_string());
        } else if answer.status.is_redirection() {
            redirects.push(exchange.to_string());
        }
    }
    vec![
        all_well(
            Check::NoRedirect,
            "nothing that programs ask for redirects",
            redirects,
        ),
        all_well(Check::BotPage, "no firewall or bot page answered", pages),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::judgement::verdict_of;
    use super::*;
    use crate::exchange::tests::exchange;
    use crate::finding::Verdict;

    fn facts(url: &str, addresses: &[&str]) -> (Target, Network) {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let network = Network {
            connections: addresses.iter().map(|a| (*a, Ok(()))).collect(),
            addresses: Ok(addresses),
            tls: None,
            now: Timestamp::from_secs(1_800_000_000),
        };
        (Target::parse(url).unwrap(), network)
    }

    #[test]
    fn a_public_name_with_tls_passes_and_loopback_is_a_warning() {
        let (target, mut facts_) = facts("https://mcp.example.com/mcp", &["1.1.1.1:443"]);
        facts_.tls = Some(Ok(Tls {
            version: "TLS 1.3".into(),
            expires: Some(facts_.now + Duration::from_secs(90 * 86400)),
        }));
        for finding in network(&target, &facts_) {
            assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
        }
        let (target, facts_) = facts("http://127.0.0.1:8080/mcp", &["127.0.0.1:8080"]);
        let findings = network(&target, &facts_);
        assert_eq!(verdict_of(&findings, Check::Https), Verdict::Warn);
        assert_eq!(verdict_of(&findings, Check::PublicAddress), Verdict::Warn);
        assert_eq!(verdict_of(&findings, Check::TlsCertificate), Verdict::Skip);
    }

    #[test]
    fn plain_http_off_loopback_fails() {
        let (target, facts) = facts("http://mcp.example.com/mcp", &["1.1.1.1:80"]);
        assert_eq!(
            verdict_of(&network(&target, &facts), Check::Https),
            Verdict::Fail
        );
    }

    #[test]
    fn public_and_private_addresses_of_one_name_fail() {
        let (target, facts) = facts(
            "https://mcp.example.com/mcp",
            &["1.1.1.1:443", "10.0.0.1:443"],
        );
        assert_eq!(
            verdict_of(&network(&target, &facts), Check::PublicAddress),
            Verdict::Fail
        );
    }

    #[test]
    fn one_dead_address_is_a_warning_and_only_dead_ones_a_failure() {
        let (target, mut facts) = facts(
            "https://mcp.example.com/mcp",
            &["1.1.1.1:443", "1.0.0.1:443"],
        );
        facts.connections[1].1 = Err("refused".into());
        assert_eq!(
            verdict_of(&network(&target, &facts), Check::Connects),
            Verdict::Warn
        );
        assert!(facts.is_usable());
        facts.connections[0].1 = Err("refused".into());
        assert_eq!(
            verdict_of(&network(&target, &facts), Check::Connects),
            Verdict::Fail
        );
        assert!(!facts.is_usable());
    }

    #[test]
    fn the_handshake_says_whether_certificate_or_version_is_at_fault() {
        let now = Timestamp::from_secs(1_800_000_000);
        let fail = |failure| handshake(&Err(Failure::Tls(failure)), now);
        let found = fail(TlsFailure::Certificate("certificate expired".into()));
        assert_eq!(verdict_of(&found, Check::TlsCertificate), Verdict::Fail);
        let found = fail(TlsFailure::Protocol("protocol version".into()));
        assert_eq!(verdict_of(&found, Check::TlsVersion), Verdict::Fail);
        let soon = Tls {
            version: "TLS 1.2".into(),
            expires: Some(now + Duration::from_secs(86400)),
        };
        let found = handshake(&Ok(soon), now);
        assert_eq!(verdict_of(&found, Check::TlsCertificate), Verdict::Warn);
    }

    #[test]
    fn the_clock_is_judged_by_the_date_header() {
        let now = Timestamp::from_secs(784_111_777);
        let verdict = |date| clock(date, now).verdict;
        assert_eq!(
            verdict(Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            Verdict::Pass
        );
        assert_eq!(
            verdict(Some("Sun, 06 Nov 1994 08:50:37 GMT")),
            Verdict::Warn
        );
        assert_eq!(
            verdict(Some("Sun, 06 Nov 1994 09:49:37 GMT")),
            Verdict::Fail
        );
        assert_eq!(verdict(None), Verdict::Warn);
    }

    #[test]
    fn redirects_and_bot_pages_of_people_are_not_counted() {
        let url = "https://mcp.example.com/authorize";
        let mut page = exchange("GET", url, 303, &[("location", "/login")], "");
        assert_eq!(
            verdict_of(&obstacles(&[page.clone()]), Check::NoRedirect),
            Verdict::Fail
        );
        page.reader = Reader::Browser;
        assert_eq!(
            verdict_of(&obstacles(&[page]), Check::NoRedirect),
            Verdict::Pass
        );
        let html = [("content-type", "text/html; charset=utf-8")];
        let blocked = exchange(
            "POST",
            "https://mcp.example.com/mcp",
            403,
            &html,
            "Just a moment...",
        );
        assert_eq!(
            verdict_of(&obstacles(&[blocked]), Check::BotPage),
            Verdict::Fail
        );
    }
}
