//! Identity providers of other make, from the packages that `tests/providers` locks, and a person who
//! logs in at one.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::browser::{Browser, Page};
use crate::gateway::Gateway;
use crate::http;
use crate::program::{Program, free_port, workspace};

/// The secret that `tests/providers/oidc.mjs` gives its clients.
pub const SECRET: &str = "a secret of the provider & its % client";

const START: Duration = Duration::from_secs(60);

/// A provider on loopback. Dropping it ends it.
pub struct IdentityProvider {
    program: Option<Program>,
    folder: TempDir,
    script: &'static str,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// Its port, free until it is started.
    pub port: u16,
}

impl IdentityProvider {
    /// A provider that will run this script of `tests/providers`.
    pub fn new(script: &'static str) -> Result<Self> {
        Ok(Self {
            program: None,
            folder: tempfile::tempdir()?,
            script,
            arguments: Vec::new(),
            environment: Vec::new(),
            port: free_port(),
        })
    }

    /// Its issuer.
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it is started with, behind its port.
    pub fn arguments(&mut self, arguments: &[String]) {
        self.arguments = arguments.to_vec();
    }

    /// It runs Debian's glewlwyd, which `tests/run` unpacks.
    pub fn needs_glewlwyd(&mut self) {
        let folder = workspace().join("tests/.work/glewlwyd");
        installed(&folder);
        self.environment("GLEWLWYD", &folder.display().to_string());
    }

    /// A variable of its environment.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Starts it, with new keys and nobody known, and waits until it listens.
    pub async fn start(&mut self) -> Result<()> {
        let node = workspace().join("tests/.work/node");
        let script = workspace().join("tests/providers").join(self.script);
        installed(&node);
        installed(&workspace().join("tests/providers/node_modules"));
        let mut arguments = vec![script.display().to_string(), self.port.to_string()];
        arguments.extend(self.arguments.iter().cloned());
        let environment = &self.environment;
        let mut program = Program::start_group(&node, self.folder.path(), &arguments, environment)?;
        let deadline = Instant::now() + START;
        while !program
            .stdout
            .all()
            .iter()
            .any(|line| line.starts_with("listening"))
        {
            if let Some(code) = program.ended() {
                bail!("it ended with {code}\n{}", program.last_words());
            }
            anyhow::ensure!(Instant::now() < deadline, "{}", program.last_words());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.program = Some(program);
        Ok(())
    }

    /// Kills it.
    pub async fn kill(&mut self) -> Result<()> {
        match self.program.take() {
            Some(mut program) => program.kill().await,
            None => Ok(()),
        }
    }

    /// Tells it who somebody is.
    pub async fn person(&self, login: &str, claims: Value) -> Result<()> {
        let mut person = json!({ "login": login });
        if let (Some(person), Some(claims)) = (person.as_object_mut(), claims.as_object()) {
            person.extend(claims.clone());
        }
        let reply = http::post_json(&format!("{}/test/person", self.issuer()), &person).await?;
        anyhow::ensure!(reply.status == 200, "{}", reply.text);
        Ok(())
    }

    /// Lets its user info answer with this status, if it is not 200.
    pub async fn user_info(&self, status: u16) -> Result<()> {
        let status = json!({ "status": status });
        let reply = http::post_json(&format!("{}/test/userinfo", self.issuer()), &status).await?;
        anyhow::ensure!(reply.status == 200, "{}", reply.text);
        Ok(())
    }

    /// An assertion by which it connects an app, as `tests/providers/oidc.mjs` makes them.
    pub async fn id_jag(&self, asked: &Value) -> Result<String> {
        let reply = http::post_json(&format!("{}/test/id_jag", self.issuer()), asked).await?;
        let assertion = reply.json()["assertion"].as_str().map(str::to_owned);
        assertion.with_context(|| reply.text)
    }

    /// Lets it tell the gateway that somebody logged out there; whether the gateway took it.
    pub async fn log_out(&self, client: &str, login: &str) -> Result<Value> {
        let who = json!({ "login": login, "client": client });
        let reply = http::post_json(&format!("{}/test/logout", self.issuer()), &who).await?;
        Ok(reply.json())
    }
}

fn installed(path: &Path) {
    assert!(
        path.exists(),
        "{} is missing: `tests/run` installs it",
        path.display()
    );
}

/// A person's browser at the gateway and at a provider, which have a host in common and cookies that
/// are not each other's.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// At the gateway.
    pub here: Browser,
    /// At the provider.
    pub there: Browser,
}

impl Person {
    /// Presses a provider's button on a page of the gateway; the provider's page, or what the gateway
    /// says in its place.
    pub async fn press(&mut self, page: &Page, words: &str) -> Result<Page> {
        let form = page.form_with_button(words)?;
        self.here.submit(&form).await
    }

    /// Logs in at the provider under this name and allows the gateway, where `page` leads there; the
    /// URL that the browser is sent back to.
    pub async fn log_in_there(&mut self, page: &Page, login: &str) -> Result<Url> {
        let start = page.location().with_context(|| page.words())?;
        let mut at = self.there.visit(&start).await?;
        for _ in 0..4 {
            if let Some(back) = at.location() {
                return Ok(back);
            }
            let mut forms = at.forms().into_iter();
            let form = forms.next().with_context(|| at.words())?;
            let next = self.there.submit(&form.filled(login, "any")).await?;
            at = self.there.settle(next).await?;
        }
        bail!("no way back from {}: {}", at.url, at.words())
    }

    /// The whole way from a page of the gateway with a provider's button to where it leads.
    pub async fn log_in(&mut self, page: &Page, words: &str, login: &str) -> Result<Page> {
        let started = self.press(page, words).await?;
        let back = self.log_in_there(&started, login).await?;
        self.here.visit(&back).await
    }

    /// The same from the gateway's login page, to the person's apps.
    pub async fn log_in_at(&mut self, gateway: &Gateway, words: &str, login: &str) -> Result<Page> {
        let page = self.here.visit(&gateway.url("/account").parse()?).await?;
        self.log_in(&page, words, login).await
    }
}
