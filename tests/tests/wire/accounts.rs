//! Everybody's own account at a backend: how it is connected, seen, ended. The other side is real: a second
//! gateway, with refresh tokens, revocation and registration of its own, in front of a recording server.

mod apart;
mod keys;
mod oauth;
pub(crate) mod renewal;
mod servers;

use anyhow::{Context, Result};
use tests::browser::{Browser, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner, Setup};
use tests::operator::done;
use url::Url;

/// Somebody besides the owner.
fn bob() -> Owner {
    Owner {
        name: "bob".into(),
        password: "battery staple correct horse".into(),
    }
}

/// Bob may log in there, too.
async fn with_bob(gateway: &Gateway) -> Result<()> {
    let password = format!("{}\n", bob().password);
    done(gateway, &["users", "add", "bob"], &password).await?;
    Ok(())
}

/// A gateway in front of another one, called with everybody's own account there.
pub(crate) struct Pair {
    /// Where accounts are.
    pub(crate) far: Fixture,
    /// Where apps connect.
    pub(crate) near: Gateway,
}

impl Pair {
    pub(crate) async fn start(account: &str) -> Result<Self> {
        Self::with(account, "[tokens]\nrefresh = true\n", |setup| setup).await
    }

    pub(crate) async fn with(
        account: &str,
        far: &str,
        change: impl FnOnce(Setup) -> Setup,
    ) -> Result<Self> {
        let far = Fixture::with(StoreKind::Embedded, |setup| setup.more(far)).await?;
        with_bob(&far.gateway).await?;
        let setup = Setup::default()
            .mounted("far", "/", &far.gateway.origin())
            .more(&format!(
                "[backend.account]\n{account}\n[audit]\nfile = \"audit.jsonl\"\n"
            ));
        let near = Gateway::start(change(setup)).await?;
        with_bob(&near).await?;
        Ok(Self { far, near })
    }

    /// A page of the near one, for somebody who is logged in there.
    pub(crate) async fn logged_in(&self, who: &Owner, path: &str) -> Result<(Browser, Page)> {
        let mut browser = Browser::default();
        let page = browser.visit(&url(&self.near, path)).await?;
        let page = browser.log_in(&page, &who.name, &who.password).await?;
        Ok((browser, page))
    }

    /// From the page that asks for it, over the other side where `there` logs in and answers, and back.
    pub(crate) async fn connect(
        &self,
        browser: &mut Browser,
        page: &Page,
        there: &Owner,
        answer: &str,
    ) -> Result<Page> {
        let back = self.away(browser, page, there, answer).await?;
        browser.visit(&back).await
    }

    /// The same up to the address to which the other side sends the browser back.
    pub(crate) async fn away(
        &self,
        browser: &mut Browser,
        page: &Page,
        there: &Owner,
        answer: &str,
    ) -> Result<Url> {
        let form = page.form_with_button("Go there")?.press("Go there")?;
        let left = browser.submit(&form).await?;
        let to = left.location().with_context(|| left.words())?;
        anyhow::ensure!(to.as_str().starts_with(&self.far.gateway.origin()), "{to}");
        let mut elsewhere = Browser::default();
        let page = elsewhere.visit(&to).await?;
        let page = elsewhere
            .log_in(&page, &there.name, &there.password)
            .await?;
        let last = elsewhere.answer(&page, answer).await?;
        last.location().with_context(|| last.words())
    }
}

/// A URL of a gateway.
pub(crate) fn url(gateway: &Gateway, path: &str) -> Url {
    gateway.url(path).parse().expect("a URL of the harness")
}

/// The lines of the audit log about accounts: user, outcome, detail.
fn records(gateway: &Gateway) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(gateway.folder().join("audit.jsonl")).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let of_accounts = lines.filter(|line: &serde_json::Value| line["event"] == "account");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    of_accounts
        .map(|line| (text(&line["outcome"]), text(&line["detail"])))
        .collect()
}
