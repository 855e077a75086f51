//! What clients ask for under `/.well-known/`.

use http::Method;
use url::Url;

use super::examination::Examination;
use crate::checks;
use crate::checks::discovery::Discovery;
use crate::exchange::Exchange;
use crate::http_client::Ask;
use crate::private::is_stray;
use gateway_core::clock::Clock;

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVER: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";
const MANIFEST: &str = "/.well-known/mcp/manifest.json";

/// A name that no deployment has.
const FOREIGN_HOST: &str = "gateway-doctor.invalid";

/// How programs that connect call themselves: bot checks judge by the name.
const USER_AGENTS: &[&str] = &[
    "openai-mcp/1.0.0",
    "Claude-User/1.0",
    "python-httpx/0.28.1",
    "node",
];

impl Examination<'_> {
    pub(super) async fn discover(&mut self) -> Discovery {
        let path = self.target.path();
        let resource_url = self.target.at(&format!("{RESOURCE}{path}"));
        let (root_url, server_url) = (self.target.at(RESOURCE), self.target.at(SERVER));
        let resource = self.http.send(Ask::get(&resource_url)).await;
        let now = Clock.now();
        let heads = [&resource_url, &root_url, &server_url].map(|url| Ask::new(Method::HEAD, url));
        let heads = self.http.send_all(heads).await;
        let forwarded = [&resource_url, &server_url].map(forwarded_get);
        let forwarded = self.http.send_all(forwarded).await;
        let guessed = [
            format!("{SERVER}{path}"),
            format!("{OPENID}{path}"),
            format!("{path}{RESOURCE}"),
        ];
        let guessed = guessed.map(|guess| Ask::get(&self.target.at(&guess)));
        let guessed = self.http.send_all(guessed).await;
        let facts = Discovery {
            resource_root: self.http.send(Ask::get(&root_url)).await,
            server: self.server_metadata(&resource, &server_url).await,
            openid: self.http.send(Ask::get(&self.target.at(OPENID))).await,
            manifest: self.http.send(Ask::get(&self.target.at(MANIFEST))).await,
            resource,
            guessed,
            heads,
            forwarded,
        };
        let date = facts.resource.answer().and_then(|it| it.header("date"));
        self.found(checks::network::clock(date, now));
        let found = checks::discovery::discovery(self.target, &facts);
        self.findings.extend(found);
        facts
    }

    /// The metadata of the authorization server that the resource names, where clients look for it
    /// (RFC 8414 §3.1, then OpenID Connect Discovery), else what stands beside the MCP URL.
    async fn server_metadata(&self, resource: &Exchange, beside: &Url) -> Exchange {
        let named = resource.json().unwrap_or_default();
        let issuer = named["authorization_servers"][0].as_str();
        let issuer = issuer.and_then(|issuer| Url::parse(issuer).ok());
        let issuer = issuer.filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && !is_stray(self.target, url)
        });
        for candidate in issuer.iter().flat_map(candidates) {
            if candidate == *beside {
                break;
            }
            let found = self.http.send(Ask::get(&candidate)).await;
            let is_success = found.answer().is_some_and(|it| it.status.is_success());
            if is_success && found.json().is_some_and(|it| it["issuer"].is_string()) {
                return found;
            }
        }
        self.http.send(Ask::get(beside)).await
    }

    /// The same document under the names of known clients. What they get is judged with the rest
    /// of the log.
    pub(super) async fn look_like_clients(&self, discovery: &Discovery) {
        let ask = |name: &&str| Ask::get(&discovery.resource.url).with("user-agent", name);
        self.http.send_all(USER_AGENTS.iter().map(ask)).await;
    }
}

/// Where the metadata of an issuer may stand, in the order of clients.
fn candidates(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url.set_query(None);
        url
    };
    let mut urls = vec![at(format!("{SERVER}{path}")), at(format!("{OPENID}{path}"))];
    if !path.is_empty() {
        urls.push(at(format!("{path}{OPENID}")));
    }
    urls
}

fn forwarded_get(url: &Url) -> Ask {
    Ask::get(url)
        .with("x-forwarded-host", FOREIGN_HOST)
        .with("x-forwarded-proto", "https")
        .with("x-forwarded-prefix", "/elsewhere")
        .with("forwarded", &format!("host={FOREIGN_HOST};proto=https"))
}
