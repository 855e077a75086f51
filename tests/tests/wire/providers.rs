//! Logging in with an identity provider: `oidc-provider` as a company's, `oauth2-mock-server` as one
//! that lies, a stand-in for GitHub's API.

mod away;
mod forged;
mod github;
mod glewlwyd;
mod groups;
mod id_jag;
mod id_jag_ends;
mod leaving;
mod linking;
mod presets;

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tests::browser::{Browser, Page};
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Owner};
use tests::identity_provider::{IdentityProvider, Person, SECRET};
use tests::mcp::{initialize, send};
use tests::oauth::OAuthClient;
use tests::operator;

pub(crate) const BUTTON: &str = "Log in with Example Inc.";

/// A gateway whose people come from a provider.
pub(crate) struct ProviderFixture {
    pub(crate) fixture: Fixture,
    provider: IdentityProvider,
}

impl ProviderFixture {
    /// `login`: what stands in the `[[login]]` besides the usual; `more`: other tables.
    pub(crate) async fn start(
        store: StoreKind,
        client: &str,
        login: &str,
        more: &str,
    ) -> Result<Self> {
        Self::with(store, client, login, more, |provider| provider).await
    }

    async fn with(
        store: StoreKind,
        client: &str,
        login: &str,
        more: &str,
        change: impl FnOnce(IdentityProvider) -> IdentityProvider,
    ) -> Result<Self> {
        let provider = change(IdentityProvider::new("oidc.mjs")?);
        let mut world = Self::before(store, provider, client, login, more).await?;
        world.start_provider().await?;
        Ok(world)
    }

    /// The provider is not there yet.
    async fn before(
        store: StoreKind,
        provider: IdentityProvider,
        client: &str,
        login: &str,
        more: &str,
    ) -> Result<Self> {
        let issuer = provider.issuer();
        let proof = match client {
            "signed" => "private_key_jwt = true".to_owned(),
            _ => format!("client_secret = \"{SECRET}\""),
        };
        let more_scopes = match client {
            "offline" => ", \"offline_access\"",
            _ => "",
        };
        let fixture = Fixture::with(store, |setup| {
            let setup = setup.more(&format!(
                "[audit]\nfile = \"audit.jsonl\"\n\
                 [[login]]\nname = \"corp\"\nwords = \"Example Inc.\"\nissuer = \"{issuer}\"\n\
                 client_id = \"{client}\"\n{proof}\n\
                 scopes = [\"openid\", \"profile\", \"email\", \"groups\"{more_scopes}]\n\
                 groups_claim = \"groups\"\n{login}\n{more}"
            ));
            tests::gateway::Setup {
                top: more_top(more),
                ..setup
            }
        });
        let fixture = fixture.await?;
        Ok(Self { fixture, provider })
    }

    /// Anew, with new keys; and everybody that most tests know.
    async fn start_provider(&mut self) -> Result<()> {
        let base = self.fixture.gateway.issuer();
        let at = |path: &str| format!("{base}/login/corp/{path}");
        let arguments = [at("callback"), at("backchannel")];
        self.provider.arguments(&arguments);
        self.provider.start().await?;
        for (login, address, verified) in [
            ("bob", "bob@example.com", true),
            ("carol", "carol@example.com", false),
            ("dan", "dan@other.org", true),
        ] {
            let claims = json!({
                "email": address, "email_verified": verified, "groups": ["engineering", login],
            });
            self.provider.person(login, claims).await?;
        }
        Ok(())
    }

    fn gateway(&self) -> &Gateway {
        &self.fixture.gateway
    }

    async fn log_in(&self, login: &str) -> Result<(Person, Page)> {
        let mut person = Person::default();
        let page = person.log_in_at(self.gateway(), BUTTON, login).await?;
        Ok((person, page))
    }

    /// An access token of an app that this person allows everything.
    async fn connect(&self, person: &mut Person) -> Result<serde_json::Value> {
        let client = OAuthClient::register(&self.gateway().issuer(), "App").await?;
        connect(&client, person).await
    }

    /// Waits until the log says of somebody who was refused these words.
    async fn refusal(&self, words: &str) -> Result<()> {
        let is_told = |line: &String| line.contains("login_refused") && line.contains(words);
        let told = |log: &[String]| log.iter().any(is_told).then_some(());
        self.gateway().eventually_logged(told).await
    }

    /// The audit log, once this stands in it: what nobody is named in is written a little later.
    async fn audit(&self, expected: &str) -> Result<String> {
        let folder = self.gateway().folder();
        let files = ["audit.jsonl", "audit-calls.jsonl"].map(|name| folder.join(name));
        for _ in 0..100 {
            let read = |file| std::fs::read_to_string(file).unwrap_or_default();
            let text = files.each_ref().map(read).concat();
            if text.contains(expected) {
                return Ok(text);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("{expected} is not in the audit log")
    }
}

/// Each of these tests on the embedded store and on Redis.
macro_rules! on_both_stores {
    ($($test:ident)*) => {
        mod embedded {
            $(#[tokio::test]
            async fn $test() -> anyhow::Result<()> {
                super::$test(tests::fixture::StoreKind::Embedded).await
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $test() -> anyhow::Result<()> {
                super::$test(tests::fixture::StoreKind::Redis).await
            })*
        }
    };
}
use on_both_stores;

/// Keys above all tables travel in `more` behind this mark.
fn more_top(more: &str) -> String {
    let marked = more.lines().filter_map(|line| line.strip_prefix("# top: "));
    marked.map(|line| format!("{line}\n")).collect()
}

/// The tokens of a client that a person, logged in in this browser, allows everything.
async fn connect(client: &OAuthClient, person: &mut Person) -> Result<serde_json::Value> {
    let request = client.authorization();
    // Nobody's password is ever typed in.
    let nobody = Owner {
        name: "nobody".into(),
        password: "none at all".into(),
    };
    let callback = client
        .walk(&mut person.here, &request, &nobody, "Allow")
        .await?;
    let reply = client
        .redeem(&callback.code(), &request.pkce.verifier)
        .await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text);
    Ok(reply.json())
}

fn access(tokens: &serde_json::Value) -> &str {
    tokens["access_token"].as_str().expect("a token")
}

async fn status(gateway: &Gateway, token: &str) -> Result<u16> {
    Ok(send(&gateway.url("/mcp"), token, &initialize())
        .await?
        .status)
}

fn url(text: &str) -> url::Url {
    text.parse().expect("a URL")
}

pub(crate) const DOMAIN: &str = "allow = [\"*@example.com\"]";

async fn a_first_login_makes_the_person_and_a_second_one_is_the_same(
    store: StoreKind,
) -> Result<()> {
    for client in ["rs256", "es256", "eddsa", "signed"] {
        let world = ProviderFixture::start(store, client, DOMAIN, "").await?;
        let (mut bob, page) = world.log_in("bob").await?;
        assert_eq!(
            (page.reply.status, page.url.path()),
            (200, "/account"),
            "{}",
            page.words()
        );
        let words = page.words();
        let said = "Signed in with Example Inc. as bob@example.com";
        assert!(words.contains(said), "{client}: {words}");
        let token = world.connect(&mut bob).await?;
        assert_eq!(status(world.gateway(), access(&token)).await?, 200);
        let (_, page) = world.log_in("bob").await?;
        assert!(page.words().contains("“App”"), "{}", page.words());
        let users = operator::done(world.gateway(), &["users", "ls", "--json"], "").await?;
        let names = users.json();
        let names: Vec<_> = names["users"]
            .as_array()
            .context("a list")?
            .iter()
            .map(|user| user["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(names, ["alice", "bob@example.com"]);
        let audit = world.audit("with corp").await?;
        let log = world.gateway().log().join("\n");
        assert!(!log.contains(SECRET) && !audit.contains("code="), "{log}");
    }
    Ok(())
}

async fn only_those_come_in_whom_a_rule_lets_in_and_the_page_says_who_and_why(
    store: StoreKind,
) -> Result<()> {
    for (rule, lets_in, said) in [
        (
            "*@example.com",
            [true, false, false],
            "rule *@example.com: the provider has not verified the address",
        ),
        (
            "bob@example.com",
            [true, false, false],
            "rules for single addresses: it is another address",
        ),
        (
            "group:dan",
            [false, false, true],
            "rule group:dan: not in that group",
        ),
        ("*", [true, true, true], ""),
    ] {
        let world =
            ProviderFixture::start(store, "rs256", &format!("allow = [\"{rule}\"]"), "").await?;
        for (login, lets_in) in ["bob", "carol", "dan"].into_iter().zip(lets_in) {
            let (person, page) = world.log_in(login).await?;
            let words = page.words();
            let has_session = person.here.cookies.contains_key("session");
            assert_eq!(has_session, lets_in, "{rule} {login}: {words}");
            if lets_in {
                continue;
            }
            assert_eq!(page.reply.status, 403, "{words}");
            let recognised = format!("Example Inc. recognised: {login}, {login}@");
            assert!(words.contains(&recognised), "{words}");
            assert!(words.contains("Reason person_not_allowed"), "{words}");
            if login == "carol" {
                assert!(words.contains(said), "{words}");
                assert!(
                    words.contains("carol@example.com (not verified)"),
                    "{words}"
                );
            }
        }
        if rule != "*" {
            let audit = world.audit("\"person_not_allowed\"").await?;
            assert!(audit.contains("corp: Example Inc. recognised: "), "{audit}");
            world.refusal("\"provider\":\"corp\"").await?;
        }
    }
    let world = ProviderFixture::start(store, "rs256", "", "").await?;
    let (_, page) = world.log_in("bob").await?;
    assert!(
        page.words().contains("login.allow is empty"),
        "{}",
        page.words()
    );
    Ok(())
}

async fn an_answer_counts_once_in_the_browser_that_asked_and_from_the_provider_asked(
    store: StoreKind,
) -> Result<()> {
    let world = ProviderFixture::start(store, "rs256", DOMAIN, "").await?;
    let account = url(&world.gateway().url("/account"));
    let back = async || -> Result<(Person, url::Url)> {
        let mut person = Person::default();
        let page = person.here.visit(&account).await?;
        let started = person.press(&page, BUTTON).await?;
        let back = person.log_in_there(&started, "bob").await?;
        Ok((person, back))
    };
    let refused = |page: &Page, reason: &str| {
        let words = page.words();
        assert!(words.contains(&format!("Reason {reason}")), "{words}");
        assert!(page.reply.header_values("set-cookie").is_empty(), "{words}");
    };
    // Somebody else's browser.
    let (mut bob, answer) = back().await?;
    assert!(
        answer.query_pairs().any(|(name, _)| name == "iss"),
        "{answer}"
    );
    let mut victim = Browser::default();
    victim.visit(&account).await?;
    refused(&victim.open(&answer).await?, "login_state_unknown");
    // It was used up by that.
    refused(&bob.here.open(&answer).await?, "login_state_unknown");
    // Once.
    let (mut bob, answer) = back().await?;
    assert_eq!(bob.here.open(&answer).await?.reply.status, 303);
    refused(&bob.here.open(&answer).await?, "login_state_unknown");
    // Of another issuer, or of nobody who says so.
    let with = |answer: &url::Url, issuer: Option<&str>| {
        let mut changed = answer.clone();
        let others = answer.query_pairs().filter(|(name, _)| name != "iss");
        let others: Vec<_> = others
            .map(|(a, b)| (a.into_owned(), b.into_owned()))
            .collect();
        let issuer = issuer.map(|issuer| ("iss".to_owned(), issuer.to_owned()));
        changed
            .query_pairs_mut()
            .clear()
            .extend_pairs(others)
            .extend_pairs(issuer);
        changed
    };
    for issuer in [None, Some("https://evil.example")] {
        let (mut bob, answer) = back().await?;
        let page = bob.here.open(&with(&answer, issuer)).await?;
        refused(&page, "login_issuer_mismatch");
    }
    // Without a state, with one that nobody gave, and a code that is none.
    let (mut bob, answer) = back().await?;
    for query in ["", "code=x", "state=x&code=x", "state=x&state=y&code=z"] {
        let mut other = answer.clone();
        other.set_query(Some(query));
        refused(&bob.here.open(&other).await?, "login_state_unknown");
    }
    let mut spoiled = answer.clone();
    spoiled
        .query_pairs_mut()
        .clear()
        .extend_pairs(answer.query_pairs().map(|(name, value)| {
            let value = if name == "code" {
                "other".into()
            } else {
                value
            };
            (name, value)
        }));
    let page = bob.here.open(&spoiled).await?;
    refused(&page, "provider_refused");
    assert!(page.words().contains("invalid_grant"), "{}", page.words());
    Ok(())
}

async fn a_button_leads_to_the_provider_only_from_a_page_of_this_browser(
    store: StoreKind,
) -> Result<()> {
    let world = ProviderFixture::start(store, "rs256", DOMAIN, "").await?;
    let mut bob = Person::default();
    let page = bob
        .here
        .visit(&url(&world.gateway().url("/account")))
        .await?;
    let form = page.form_with_button(BUTTON)?;
    let mut stranger = Browser::default();
    stranger
        .visit(&url(&world.gateway().url("/account")))
        .await?;
    let refused = stranger.submit(&form).await?;
    assert_eq!(refused.reply.status, 403, "{}", refused.words());
    assert!(refused.words().contains("cross_site_form"));
    // Pressed twice: both lead there, and each comes back once.
    let first = bob.press(&page, BUTTON).await?;
    let second = bob.press(&page, BUTTON).await?;
    let first = bob.log_in_there(&first, "bob").await?;
    let second = bob.log_in_there(&second, "bob").await?;
    assert_eq!(bob.here.visit(&second).await?.url.path(), "/account");
    assert_eq!(bob.here.visit(&first).await?.url.path(), "/account");
    // What is kept for an app meanwhile is bounded.
    let client = OAuthClient::register(&world.gateway().issuer(), "App").await?;
    let mut request = client.authorization().url();
    let state = "s".repeat(2048);
    request.query_pairs_mut().append_pair("more", &state);
    let mut other = Person::default();
    let page = other.here.visit(&request).await?;
    let refused = other.press(&page, BUTTON).await?;
    let words = refused.words();
    assert_eq!(refused.reply.status, 400, "{words}");
    assert!(words.contains("longer than 2048 bytes"), "{words}");
    let opened = bob
        .here
        .open(&url(&world.gateway().url("/login/corp")))
        .await?;
    let to = opened.location().map(|to| to.path().to_owned());
    assert_eq!(to.as_deref(), Some("/login"));
    for path in [
        "/login/other",
        "/login/corp/other",
        "/login/",
        "/login/corp/callback/x",
    ] {
        let reply = tests::http::client()
            .post(world.gateway().url(path))
            .send()
            .await?;
        assert_eq!(reply.status().as_u16(), 404, "{path}");
    }
    Ok(())
}

async fn without_passwords_only_the_owner_has_one_to_the_rescue(store: StoreKind) -> Result<()> {
    let world =
        ProviderFixture::start(store, "rs256", DOMAIN, "# top: password_login = false\n").await?;
    let gateway = world.gateway();
    operator::done(
        gateway,
        &["users", "add", "erin"],
        "correct horse battery staple\n",
    )
    .await?;
    let mut browser = Browser::default();
    let page = browser.visit(&url(&gateway.url("/account"))).await?;
    assert!(page.password_form().is_err(), "{}", page.words());
    assert!(page.form_with_button(BUTTON).is_ok());
    let rescue = url(&gateway.url("/login?password"));
    let page = browser.visit(&rescue).await?;
    let refused = browser
        .log_in(&page, "erin", "correct horse battery staple")
        .await?;
    assert_eq!(refused.reply.status, 403, "{}", refused.words());
    world.refusal("password_login_off").await?;
    let owner = &world.fixture.owner;
    let page = browser
        .log_in(&refused, &owner.name, &owner.password)
        .await?;
    assert!(browser.cookies.contains_key("session"), "{}", page.words());
    Ok(())
}

on_both_stores! {
    a_first_login_makes_the_person_and_a_second_one_is_the_same
    only_those_come_in_whom_a_rule_lets_in_and_the_page_says_who_and_why
    an_answer_counts_once_in_the_browser_that_asked_and_from_the_provider_asked
    a_button_leads_to_the_provider_only_from_a_page_of_this_browser
    without_passwords_only_the_owner_has_one_to_the_rescue
}
