//! What clients ask for under `/.well-known/`.

use http::Method;
use url::Url;

use super::*;
use crate::clock::Clock;
use crate::doctor::wire::Ask;

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

impl Tour<'_> {
    pub(super) async fn discover(&mut self) -> Discovery {
        let path = self.target.path();
        let resource_url = self.target.at(&format!("{RESOURCE}{path}"));
        let (root_url, server_url) = (self.target.at(RESOURCE), self.target.at(SERVER));
        let resource = self.wire.send(Ask::get(&resource_url)).await;
        let now = Clock.now();
        let mut heads = Vec::new();
        for url in [&resource_url, &root_url, &server_url] {
            heads.push(self.wire.send(Ask::new(Method::HEAD, url)).await);
        }
        let mut forwarded = Vec::new();
        for url in [&resource_url, &server_url] {
            forwarded.push(self.wire.send(forwarded_get(url)).await);
        }
        let mut guessed = Vec::new();
        for guess in [
            format!("{SERVER}{path}"),
            format!("{OPENID}{path}"),
            format!("{path}{RESOURCE}"),
        ] {
            guessed.push(self.wire.send(Ask::get(&self.target.at(&guess))).await);
        }
        let facts = Discovery {
            resource_root: self.wire.send(Ask::get(&root_url)).await,
            server: self.wire.send(Ask::get(&server_url)).await,
            openid: self.wire.send(Ask::get(&self.target.at(OPENID))).await,
            manifest: self.wire.send(Ask::get(&self.target.at(MANIFEST))).await,
            resource,
            guessed,
            heads,
            forwarded,
        };
        let date = facts
            .resource
            .outcome
            .as_ref()
            .ok()
            .and_then(|answer| answer.header("date"));
        let clock = judge::network::clock(date, now);
        self.found(clock);
        let found = judge::discovery::discovery(self.target, &facts);
        self.findings.extend(found);
        facts
    }

    /// The same document under the names of known clients. What they get is judged with the rest
    /// of the log.
    pub(super) async fn look_like_clients(&self, discovery: &Discovery) {
        for name in USER_AGENTS {
            let ask = Ask::get(&discovery.resource.url).with("user-agent", name);
            self.wire.send(ask).await;
        }
    }
}

fn forwarded_get(url: &Url) -> Ask {
    Ask::get(url)
        .with("x-forwarded-host", FOREIGN_HOST)
        .with("x-forwarded-proto", "https")
        .with("x-forwarded-prefix", "/elsewhere")
        .with("forwarded", &format!("host={FOREIGN_HOST};proto=https"))
}
