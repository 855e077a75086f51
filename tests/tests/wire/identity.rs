//! Who a client is, and how it shows it: metadata documents, signed assertions, clients of the
//! configuration.

mod documents;
mod fetching;
mod keys;
mod registered;

use anyhow::Result;
use tests::browser::{Browser, Page};
use tests::documents::DocumentSite;
use tests::fixture::{Fixture, StoreKind};
use tests::http::Reply;
use tests::oauth::{Authorization, OAuthClient};

/// A gateway that knows a site of documents.
async fn fixture(site: &DocumentSite, more: &str) -> Result<Fixture> {
    Fixture::with(StoreKind::Embedded, |setup| site.known_to(setup).more(more)).await
}

/// A client that is known without having registered.
fn client(fixture: &Fixture, id: &str, redirect_uri: &str) -> OAuthClient {
    OAuthClient::known(&fixture.gateway.origin(), id, redirect_uri)
}

/// A browser that shows the consent page of a request.
async fn at_consent(fixture: &Fixture, request: &Authorization) -> Result<(Browser, Page)> {
    let mut browser = Browser::default();
    let page = browser.visit(&request.url()).await?;
    let page = browser
        .log_in(&page, &fixture.owner.name, &fixture.owner.password)
        .await?;
    Ok((browser, page))
}

/// A page that redirects nowhere.
async fn refused(request: &Authorization) -> Result<String> {
    let page = Browser::default().visit(&request.url()).await?;
    assert_eq!(page.reply.status, 400, "{}", page.words());
    assert_eq!(page.reply.header("location"), "");
    Ok(page.words())
}

/// Status and error of a JSON answer.
fn error(reply: &Reply) -> (u16, String) {
    (
        reply.status,
        reply.json()["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}
