//! Calls without a valid token, by every method, on both transports.

use http::Method;
use url::Url;

use super::examination::Examination;
use super::session::{discover, initialize_message, post};
use crate::checks;
use crate::checks::challenge::{Unauthenticated, metadata_url};
use crate::checks::discovery::Discovery;
use crate::exchange::Exchange;
use crate::http_client::Ask;

/// A web client that asks for leave before it calls.
const WEB_CLIENT: &str = "http://localhost:6274";

impl Examination<'_> {
    pub(super) async fn be_challenged(&mut self, discovery: &Discovery) {
        let mcp = self.every_method(&self.target.mcp).await;
        let sse = self.every_method(&self.target.sse).await;
        let invalid =
            post(&self.target.mcp, &initialize_message(1)).bearer("gateway-doctor-invalid");
        let invalid_token = self.http.send(invalid).await;
        let is_sse = self.target.path() == self.target.sse.path();
        // Clients take the challenge of their first POST.
        let typed = if is_sse { &sse } else { &mcp };
        let challenged = typed
            .iter()
            .find(|exchange| exchange.method == Method::POST);
        let metadata = match challenged.and_then(|exchange| metadata_url(self.target, exchange)) {
            Some(url) => Some(self.http.send(Ask::get(&url)).await),
            None => None,
        };
        let facts = Unauthenticated {
            preflights: self.preflights(discovery).await,
            mcp,
            sse,
            invalid_token,
            metadata,
        };
        let found = checks::challenge::challenge(self.target, &facts, &discovery.resource);
        self.findings.extend(found);
    }

    async fn every_method(&self, url: &Url) -> Vec<Exchange> {
        let asks = [
            Ask::new(Method::GET, url).with("accept", "text/event-stream"),
            Ask::new(Method::HEAD, url),
            post(url, &initialize_message(1)),
            discover(url),
            Ask::new(Method::DELETE, url),
        ];
        self.http.send_all(asks).await
    }

    async fn preflights(&self, discovery: &Discovery) -> Vec<Exchange> {
        let preflight = |url: &Url, method: &str, origin: &str| {
            Ask::new(Method::OPTIONS, url)
                .with("origin", origin)
                .with("access-control-request-method", method)
                .with(
                    "access-control-request-headers",
                    "authorization, content-type, mcp-protocol-version",
                )
        };
        // Only the gateway's own pages may call the MCP URL unasked; anybody's the rest.
        let mut asks = vec![
            preflight(&self.target.mcp, "POST", &self.target.origin()),
            preflight(&discovery.resource.url, "GET", WEB_CLIENT),
        ];
        let endpoints = discovery.endpoints(self.target);
        let endpoints = endpoints
            .iter()
            .flat_map(|e| [&e.token, &e.registration])
            .flatten();
        asks.extend(endpoints.map(|url| preflight(url, "POST", WEB_CLIENT)));
        self.http.send_all(asks).await
    }
}
