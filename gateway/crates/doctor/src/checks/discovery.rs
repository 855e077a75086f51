//! Metadata: protected resource (RFC 9728), authorization server (RFC 8414), and what else stands
//! under `/.well-known/`.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::judgement::{
    Problem, all_well, answer, document, judge, judge_all, judge_document, settle, strings, wrong,
};
use super::refresh;
use crate::check::Check;
use crate::exchange::{Answer, Exchange};
use crate::finding::Finding;
use crate::private::{is_stray, urls};
use crate::target::Target;

/// Slow, and too slow for Claude.
const SLOW: Duration = Duration::from_secs(2);
const TOO_SLOW: Duration = Duration::from_secs(10);

/// Everything that was asked for under `/.well-known/`.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    /// Protected resource metadata with the path of the MCP URL.
    pub(crate) resource: Exchange,
    /// The same without a path.
    pub(crate) resource_root: Exchange,
    /// Authorization server metadata.
    pub(crate) server: Exchange,
    pub(crate) openid: Exchange,
    pub(crate) manifest: Exchange,
    /// Paths that clients guess and that should not exist.
    pub(crate) guessed: Vec<Exchange>,
    /// HEAD of the first three.
    pub(crate) heads: Vec<Exchange>,
    /// The first and the third again, with headers that claim another host.
    pub(crate) forwarded: Vec<Exchange>,
}

/// What the rest of the examination goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// Every spelling of the issuer that the documents contain, `issuer` first.
    pub(crate) issuers: Vec<String>,
    pub(crate) authorization: Option<Url>,
    pub(crate) token: Option<Url>,
    pub(crate) registration: Option<Url>,
    pub(crate) revocation: Option<Url>,
    pub(crate) scope: Option<String>,
    /// Whether responses are to carry `iss`.
    pub(crate) iss: bool,
    /// Whether refresh tokens are offered.
    pub(crate) refresh: bool,
}

impl Discovery {
    /// The endpoints that can be asked. One on a private host is left out: clients can't reach it.
    pub(crate) fn endpoints(&self, target: &Target) -> Option<Endpoints> {
        let server = document(&self.server, 200).ok()?;
        let resource = document(&self.resource, 200).unwrap_or_default();
        let endpoint = |member: &str| {
            let url = Url::parse(server[member].as_str()?).ok()?;
            (!is_stray(target, &url)).then_some(url)
        };
        let named = strings(&resource, "authorization_servers");
        let issuers = server["issuer"].as_str().into_iter();
        let issuers = issuers.chain(named.first().copied());
        let scopes = strings(&resource, "scopes_supported");
        Some(Endpoints {
            issuers: issuers.map(str::to_owned).collect(),
            authorization: endpoint("authorization_endpoint"),
            token: endpoint("token_endpoint"),
            registration: endpoint("registration_endpoint"),
            revocation: endpoint("revocation_endpoint"),
            scope: (!scopes.is_empty()).then(|| scopes.join(" ")),
            iss: server["authorization_response_iss_parameter_supported"] == true,
            refresh: refresh::is_offered(&server),
        })
    }

    fn documents(&self) -> impl Iterator<Item = &Exchange> {
        [&self.resource, &self.resource_root, &self.server].into_iter()
    }
}

/// All checks of the documents.
pub(crate) fn discovery(target: &Target, facts: &Discovery) -> Vec<Finding> {
    let resource = document(&facts.resource, 200);
    let server = document(&facts.server, 200);
    let mut findings = vec![
        resource_metadata(facts, &resource),
        resource_metadata_root(target, facts),
        server_metadata(facts, &server),
        metadata_head(facts),
        metadata_cors(facts),
        metadata_speed(facts),
        metadata_stable(facts),
        private_host(target, facts),
        openid_configuration(&facts.openid),
        unknown_well_known(&facts.guessed),
        manifest(&facts.manifest),
    ];
    if let Ok(resource) = &resource {
        findings.push(resource_is_named(target, resource));
        findings.push(scopes(resource));
    }
    if let (Ok(resource), Ok(server)) = (&resource, &server) {
        findings.push(issuer(resource, server));
    }
    if let Ok(server) = &server {
        findings.push(endpoints_origin(target, server));
        findings.extend(capabilities(server));
        findings.push(refresh::offline_access(server));
    }
    findings
}

fn resource_metadata(facts: &Discovery, resource: &Result<Value, Problem>) -> Finding {
    let check = Check::ProtectedResourceMetadata;
    let judged = resource.clone().and_then(|document| {
        let servers = strings(&document, "authorization_servers");
        if servers.is_empty() {
            return wrong("it names no authorization_servers");
        }
        Ok(check.pass(format!("found at {}", facts.resource.url.path())))
    });
    settle(check, [&facts.resource], judged)
}

fn resource_metadata_root(target: &Target, facts: &Discovery) -> Finding {
    let check = Check::ProtectedResourceMetadataRoot;
    if answer(&facts.resource_root).is_ok_and(is_absent) && document(&facts.resource, 200).is_ok() {
        return check.pass("not served, and not needed: the form with the path is found");
    }
    judge_document(check, &facts.resource_root, 200, |document| {
        let resource = document["resource"].as_str().unwrap_or_default();
        let url = Url::parse(resource).ok();
        let stray = url.as_ref().is_none_or(|url| is_stray(target, url));
        match url {
            // A private host is told by its own check.
            Some(url) if stray || url.origin() == target.mcp.origin() => {
                Ok(check.pass(format!("its resource is {url}")))
            }
            _ => wrong(format!(
                "its resource {resource:?} is not on {}",
                target.origin()
            )),
        }
    })
}

fn resource_is_named(target: &Target, resource: &Value) -> Finding {
    let named = resource["resource"].as_str().unwrap_or_default();
    if target.is_named_by(named) {
        Check::Resource.pass(format!("resource is {named}"))
    } else {
        Check::Resource
            .fail(format!("resource is {named:?}, not the URL typed"))
            .seen(format!("typed: {}", target.typed))
            .seen(format!("resource: {named}"))
    }
}

fn server_metadata(facts: &Discovery, server: &Result<Value, Problem>) -> Finding {
    let check = Check::AuthorizationServerMetadata;
    let judged = server.clone().and_then(|document| {
        for member in ["issuer", "authorization_endpoint", "token_endpoint"] {
            let url = document[member].as_str();
            if url.is_none_or(|url| Url::parse(url).is_err()) {
                return wrong(format!("its {member} is missing or no URL"));
            }
        }
        Ok(check.pass(format!("found at {}", facts.server.url.path())))
    });
    settle(check, [&facts.server], judged)
}

fn issuer(resource: &Value, server: &Value) -> Finding {
    let issuer = server["issuer"].as_str().unwrap_or_default();
    let named = strings(resource, "authorization_servers");
    let first = named.first().copied().unwrap_or_default();
    if issuer == first && !issuer.is_empty() {
        Check::Issuer.pass(format!("both documents say {issuer}"))
    } else {
        Check::Issuer
            .fail(format!(
                "issuer {issuer:?} is not authorization_servers[0] {first:?}"
            ))
            .seen(format!("authorization server metadata: issuer {issuer}"))
            .seen(format!(
                "protected resource metadata: authorization_servers[0] {first}"
            ))
    }
}

fn endpoints_origin(target: &Target, server: &Value) -> Finding {
    let issuer = server["issuer"]
        .as_str()
        .and_then(|issuer| Url::parse(issuer).ok());
    let home = issuer.map_or_else(|| target.mcp.origin(), |issuer| issuer.origin());
    let elsewhere: Vec<String> = urls(server)
        .into_iter()
        .filter(|(member, _)| member.ends_with("_endpoint"))
        .filter(|(_, url)| url.origin() != home && !is_stray(target, url))
        .map(|(member, url)| format!("{member} is on {}", url.origin().ascii_serialization()))
        .collect();
    let well = format!("all endpoints are on {}", home.ascii_serialization());
    all_well(Check::EndpointsOrigin, well, elsewhere)
}

fn private_host(target: &Target, facts: &Discovery) -> Finding {
    let mut found = Vec::new();
    for exchange in facts.documents().chain([&facts.manifest]) {
        let document = document(exchange, 200).unwrap_or_default();
        for (member, url) in urls(&document) {
            if is_stray(target, &url) {
                found.push(format!("{member} of {} is {url}", exchange.url.path()));
            }
        }
    }
    all_well(
        Check::PrivateHost,
        "no document names a private host",
        found,
    )
}

fn metadata_head(facts: &Discovery) -> Finding {
    let check = Check::MetadataHead;
    let mut wrong = Vec::new();
    for (get, head) in facts.documents().zip(&facts.heads) {
        // Where GET fails too, HEAD is not the matter.
        if document(get, 200).is_err() || head.url != get.url {
            continue;
        }
        match answer(head) {
            Err(Problem::Known(cause)) => return check.after(cause),
            Ok(answer) if answer.status.as_u16() == 200 && answer.says_json() => {}
            _ => wrong.push(head.to_string()),
        }
    }
    all_well(check, "HEAD answers like GET", wrong)
}

fn metadata_cors(facts: &Discovery) -> Finding {
    let name = "access-control-allow-origin";
    let wrong = facts
        .documents()
        .filter(|exchange| document(exchange, 200).is_ok())
        .filter(|exchange| answer(exchange).map(|answer| answer.header(name)) != Ok(Some("*")))
        .map(|exchange| format!("{} has no {name}: *", exchange.url.path()));
    let well = "any web page may read the metadata";
    all_well(Check::MetadataCors, well, wrong.collect())
}

fn metadata_speed(facts: &Discovery) -> Finding {
    let check = Check::MetadataSpeed;
    let slowest = facts
        .documents()
        .filter_map(|exchange| Some((answer(exchange).ok()?.took, exchange)))
        .max_by_key(|(took, _)| *took);
    let Some((took, exchange)) = slowest else {
        return check.skip("no document was found");
    };
    let summary = format!("the slowest took {} ms", took.as_millis());
    let finding = if took >= TOO_SLOW {
        check.fail(summary)
    } else if took >= SLOW {
        check.warn(summary)
    } else {
        check.pass(summary)
    };
    finding.seen(exchange.to_string())
}

fn metadata_stable(facts: &Discovery) -> Finding {
    let changed: Vec<String> = [&facts.resource, &facts.server]
        .into_iter()
        .zip(&facts.forwarded)
        .filter(|(plain, forwarded)| plain.url == forwarded.url)
        .filter(|(plain, forwarded)| {
            let (plain, forwarded) = (document(plain, 200), document(forwarded, 200));
            plain.is_ok() && forwarded.is_ok() && plain != forwarded
        })
        .map(|(plain, _)| format!("{} follows X-Forwarded-Host or Forwarded", plain.url.path()))
        .collect();
    all_well(
        Check::MetadataStable,
        "no request header changes it",
        changed,
    )
}

/// What the authorization server says that it can do.
fn capabilities(server: &Value) -> Vec<Finding> {
    let lists = |member: &str, word: &str| strings(server, member).contains(&word);
    let judged = |check: Check, holds: bool, well: &str, otherwise: String, members: &[&str]| {
        if holds {
            return check.pass(well);
        }
        let seen = members.iter();
        let seen = seen.map(|member| format!("{member}: {}", server[*member]));
        seen.fold(check.fail(otherwise), Finding::seen)
    };
    let has = |check: Check, member: &str, word: &str, well: &str| {
        let otherwise = format!("{member} has no {word}");
        judged(check, lists(member, word), well, otherwise, &[member])
    };
    let flag = |check: Check, member: &str, well: &str| {
        let otherwise = format!("{member} is not true");
        judged(check, server[member] == true, well, otherwise, &[member])
    };
    // RFC 8414 §2: absent, it is authorization_code and implicit.
    let grant = server["grant_types_supported"].is_null()
        || lists("grant_types_supported", "authorization_code");
    vec![
        has(
            Check::PkceS256,
            "code_challenge_methods_supported",
            "S256",
            "S256 is supported",
        ),
        has(
            Check::PublicClients,
            "token_endpoint_auth_methods_supported",
            "none",
            "clients without a secret are served",
        ),
        judged(
            Check::CodeFlow,
            grant && lists("response_types_supported", "code"),
            "the authorization code flow is supported",
            "the authorization code flow is not listed".to_owned(),
            &["response_types_supported", "grant_types_supported"],
        ),
        Check::RegistrationEndpoint.pass_if(
            server["registration_endpoint"].is_string(),
            "clients may register",
            "there is no registration_endpoint",
        ),
        flag(
            Check::IssFlag,
            "authorization_response_iss_parameter_supported",
            "authorization responses carry iss",
        ),
        // Clients may register instead.
        flag(
            Check::ClientIdMetadataDocuments,
            "client_id_metadata_document_supported",
            "client metadata documents are supported",
        )
        .warning_at_worst(),
    ]
}

fn scopes(resource: &Value) -> Finding {
    let scopes = strings(resource, "scopes_supported");
    if scopes.contains(&"offline_access") {
        Check::Scopes.warn("offline_access is listed as a scope of the resource")
    } else {
        Check::Scopes.pass(format!("scopes_supported: {}", scopes.join(" ")))
    }
}

/// Whether it says that there is nothing.
fn is_absent(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 404 | 405 | 410)
}

fn openid_configuration(exchange: &Exchange) -> Finding {
    let check = Check::OpenidConfiguration;
    judge(check, exchange, |answer| {
        if is_absent(answer) {
            return Ok(check.pass("not served, and says so"));
        }
        let whole = document(exchange, 200)?;
        let needed = [
            "issuer",
            "jwks_uri",
            "subject_types_supported",
            "id_token_signing_alg_values_supported",
        ];
        match needed.iter().find(|member| whole[**member].is_null()) {
            None => Ok(check.pass("served whole")),
            Some(member) => wrong(format!("served without {member}")),
        }
    })
}

fn unknown_well_known<'a>(guessed: &'a [Exchange]) -> Finding {
    let well = "guessed paths answer 404";
    let path = |exchange: &'a Exchange| exchange.url.path();
    judge_all(
        Check::UnknownWellKnown,
        well,
        guessed,
        path,
        |exchange, answer| {
            // A document there is for others to judge; a page or a challenge is for nobody.
            let is_document = answer.status.is_success() && answer.json().is_some();
            let fault = || format!("{} answers {answer}, not 404", exchange.url.path());
            (!is_absent(answer) && !is_document).then(fault)
        },
    )
}

fn manifest(exchange: &Exchange) -> Finding {
    let check = Check::Manifest;
    judge(check, exchange, |answer| {
        if is_absent(answer) {
            return Ok(check.skip("there is none, and no current client needs it"));
        }
        document(exchange, 200).map(|_| check.pass("found, in JSON"))
    })
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
