//! Clients of the configuration that get tokens for themselves, in the name of a service.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::Browser;
use tests::fixture::{Fixture, StoreKind};
use tests::gateway::{Gateway, Setup};
use tests::http::{self, Reply};
use tests::keys::{Signer, assertion_fields};
use tests::mcp::{call, initialize, message, response, send};
use tests::oauth::{OAuthClient, REDIRECT_URI};
use tests::operator::{command, done};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A client with a secret and one with a key, which act as one service.
fn tables(signer: &Signer) -> String {
    let jwks = signer.jwks().to_string();
    format!(
        "[[group]]\nname = \"robots\"\n\
         [[service]]\nname = \"ci\"\ngroups = [\"robots\"]\n\
         [[client]]\nid = \"nightly\"\nacts_as = \"ci\"\ngrants = [\"client_credentials\"]\n\
         method = \"private_key_jwt\"\njwks = '{jwks}'\nbackends = [\"main\"]\ntools = [\"look\", \"echo\"]\n\
         [[client]]\nid = \"plain\"\nacts_as = \"ci\"\ngrants = [\"client_credentials\"]\n\
         method = \"client_secret_basic\"\nsecret_file = \"secret\"\n"
    )
}

struct ServiceFixture {
    fixture: Fixture,
    signer: Signer,
}

impl ServiceFixture {
    async fn with(store: StoreKind, more: &str) -> Result<Self> {
        let signer = Signer::ec("k")?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("secret"), SECRET)?;
        let file = folder.path().join("secret").display().to_string();
        let tables = tables(&signer).replace("\"secret\"", &format!("\"{file}\"")) + more;
        let fixture = Fixture::with(store, |setup| {
            let setup = setup.more(&tables);
            Setup {
                folder: Some(folder),
                ..setup
            }
        })
        .await?;
        Ok(Self { fixture, signer })
    }

    fn gateway(&self) -> &Gateway {
        &self.fixture.gateway
    }

    /// What `nightly` is answered, with these fields beside its proof.
    async fn ask(&self, more: &[(&str, &str)]) -> Result<Reply> {
        let assertion = self.signer.assertion("nightly", &self.gateway().issuer());
        self.ask_with(&assertion, more).await
    }

    async fn ask_with(&self, assertion: &str, more: &[(&str, &str)]) -> Result<Reply> {
        let proof = assertion_fields(assertion);
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(proof.iter().map(|(name, value)| (&**name, &**value)));
        fields.extend(more);
        http::post_form(&self.gateway().url("/token"), &fields).await
    }

    /// What `plain` is answered.
    async fn ask_plainly(&self, secret: &str, more: &[(&str, &str)]) -> Result<Reply> {
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(more);
        let request = http::client().post(self.gateway().url("/token"));
        http::send(request.basic_auth("plain", Some(secret)).form(&fields)).await
    }
}

fn token(reply: &Reply) -> Result<String> {
    let token = reply.json()["access_token"].as_str().map(str::to_owned);
    token.with_context(|| reply.text.clone())
}

async fn status(gateway: &Gateway, token: &str) -> Result<u16> {
    Ok(send(&gateway.url("/mcp"), token, &initialize())
        .await?
        .status)
}

async fn refusal(gateway: &Gateway, token: &str, tool: &str) -> Result<String> {
    let asked = call(4, tool, &json!({}));
    let answer = response(&send(&gateway.url("/mcp"), token, &asked).await?)?;
    let reason = answer["result"]["_meta"]["reason"].as_str();
    Ok(reason.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_configured_client_gets_what_is_configured_and_no_more() -> Result<()> {
    let world = ServiceFixture::with(StoreKind::Embedded, "").await?;
    let gateway = world.gateway();
    let reply = world.ask(&[]).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let answer = reply.json();
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["scope"], "mcp");
    assert!(answer.get("refresh_token").is_none(), "{answer}");
    let ends = answer["expires_in"].as_u64().context("no end")?;
    assert!((3500..=3600).contains(&ends), "{ends}");
    let nightly = token(&reply)?;
    let list = message(5, "tools/list", &json!({}));
    let listed = response(&send(&gateway.url("/mcp"), &nightly, &list).await?)?;
    let tools = listed["result"]["tools"].as_array().context("no list")?;
    assert_eq!(tools.len(), 2, "{listed}");
    assert_eq!(refusal(gateway, &nightly, "look").await?, "");
    assert_eq!(
        refusal(gateway, &nightly, "erase").await?,
        "tool_not_allowed"
    );
    let seen = world.fixture.backend.requests();
    let seen = seen.last().context("the backend saw nothing")?;
    assert_eq!(seen.header("x-forwarded-user"), Some("ci"));
    assert_eq!(seen.header("x-forwarded-client"), Some("nightly"));

    let plain = token(&world.ask_plainly(SECRET, &[]).await?)?;
    assert_eq!(refusal(gateway, &plain, "erase").await?, "");
    let metadata = http::get(&gateway.url("/.well-known/oauth-authorization-server")).await?;
    let grants = metadata.json()["grant_types_supported"].clone();
    assert_eq!(
        grants,
        json!([
            "authorization_code",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:device_code"
        ])
    );
    let inspected = done(gateway, &["grants", "ls", "--user", "ci", "--json"], "").await?;
    assert_eq!(inspected.json()["grants"].as_array().map(Vec::len), Some(2));
    Ok(())
}

#[tokio::test]
async fn a_wrong_proof_gets_nothing_and_an_assertion_counts_once() -> Result<()> {
    let world = ServiceFixture::with(StoreKind::Embedded, "").await?;
    let issuer = world.gateway().issuer();
    let stranger = Signer::ec("k")?;
    for assertion in [
        stranger.assertion("nightly", &issuer),
        world
            .signer
            .assertion("nightly", "https://elsewhere.example"),
        world.signer.assertion("plain", &issuer),
    ] {
        let reply = world.ask_with(&assertion, &[]).await?;
        assert_eq!(
            (reply.status, reply.error().as_str()),
            (401, "invalid_client")
        );
    }
    let once = world.signer.assertion("nightly", &issuer);
    assert_eq!(world.ask_with(&once, &[]).await?.status, 200);
    let again = world.ask_with(&once, &[]).await?;
    assert_eq!(
        (again.status, again.error().as_str()),
        (401, "invalid_client")
    );
    let wrong = world.ask_plainly("wrong", &[]).await?;
    assert_eq!(
        (wrong.status, wrong.error().as_str()),
        (401, "invalid_client")
    );
    for (more, error) in [
        (&[("scope", "mcp other")][..], ""),
        (
            &[("resource", "https://elsewhere.example/mcp")],
            "invalid_target",
        ),
        (&[("scope", "\u{7}")], "invalid_scope"),
    ] {
        let reply = world.ask(more).await?;
        let expected = if error.is_empty() { 200 } else { 400 };
        assert_eq!(reply.status, expected, "{more:?}: {}", reply.text);
        if !error.is_empty() {
            assert_eq!(reply.error(), error, "{more:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_app_that_registered_itself_gets_a_token_for_itself() -> Result<()> {
    let world = ServiceFixture::with(StoreKind::Embedded, "").await?;
    let metadata = json!({
        "client_name": "App", "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "client_credentials"],
        "token_endpoint_auth_method": "client_secret_post",
    });
    let app = OAuthClient::register_with(&world.gateway().origin(), &metadata).await?;
    let secret = app.registration["client_secret"]
        .as_str()
        .context("no secret")?;
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", app.client_id.as_str()),
        ("client_secret", secret),
    ];
    let reply = http::post_form(&world.gateway().url("/token"), &fields).await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (400, "unauthorized_client"),
        "{}",
        reply.text
    );
    // Nor does a client for machines come before a person.
    let machine = OAuthClient::known(&world.gateway().origin(), "nightly", REDIRECT_URI);
    let page = Browser::default()
        .visit(&machine.authorization().url())
        .await?;
    assert_eq!(page.reply.status, 400, "{}", page.words());
    // Where none is configured, the grant type is not served at all.
    let fixture = Fixture::start().await?;
    let fields = [
        ("grant_type", "client_credentials"),
        ("client_id", "nightly"),
    ];
    let reply = http::post_form(&fixture.url("/token"), &fields).await?;
    assert_eq!(reply.error(), "unsupported_grant_type");
    let metadata = http::get(&fixture.url("/.well-known/oauth-authorization-server")).await?;
    assert_eq!(
        metadata.json()["grant_types_supported"],
        json!([
            "authorization_code",
            "urn:ietf:params:oauth:grant-type:device_code"
        ])
    );
    Ok(())
}

#[tokio::test]
async fn many_tokens_are_one_grant_whose_end_ends_them_all() -> Result<()> {
    let world = ServiceFixture::with(StoreKind::Redis, "").await?;
    let gateway = world.gateway();
    let mut tokens = Vec::new();
    for _ in 0..5 {
        tokens.push(token(&world.ask(&[]).await?)?);
    }
    let grants = async || -> Result<Vec<String>> {
        let ls = done(
            gateway,
            &["grants", "ls", "--client", "nightly", "--json"],
            "",
        )
        .await?;
        let ls = ls.json();
        let grants = ls["grants"].as_array().context("no list")?;
        let id = |grant: &Value| grant["id"].as_str().unwrap_or_default().to_owned();
        Ok(grants.iter().map(id).collect())
    };
    let before = grants().await?;
    assert_eq!(before.len(), 1, "{before:?}");
    done(gateway, &["grants", "revoke", &before[0]], "").await?;
    for token in &tokens {
        assert_eq!(status(gateway, token).await?, 401);
    }
    let fresh = token(&world.ask(&[]).await?)?;
    assert_eq!(status(gateway, &fresh).await?, 200);
    assert_ne!(grants().await?, before);
    Ok(())
}

#[tokio::test]
async fn of_several_backends_one_is_named_and_only_a_configured_one() -> Result<()> {
    let world = ServiceFixture::with(
        StoreKind::Embedded,
        "[[backend]]\nname = \"second\"\npath = \"/second\"\nurl = \"http://127.0.0.1:9\"\n",
    )
    .await?;
    let gateway = world.gateway();
    let (first, second) = (gateway.url("/mcp"), gateway.url("/second/mcp"));
    assert_eq!(world.ask(&[]).await?.status, 200, "it may use one only");
    let other = world.ask(&[("resource", &second)]).await?;
    assert_eq!(other.error(), "invalid_target");
    let unnamed = world.ask_plainly(SECRET, &[]).await?;
    assert_eq!(unnamed.error(), "invalid_target", "{}", unnamed.text);
    let named = world.ask_plainly(SECRET, &[("resource", &first)]).await?;
    assert_eq!(status(gateway, &token(&named)?).await?, 200);
    let elsewhere = world.ask_plainly(SECRET, &[("resource", &second)]).await?;
    assert_eq!(
        status(gateway, &token(&elsewhere)?).await?,
        401,
        "for the other backend"
    );
    Ok(())
}

#[tokio::test]
async fn a_policy_knows_machines_and_their_groups_from_people() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.biscuit");
    std::fs::write(
        &file,
        "deny if machine(true), tool(\"echo\");\nallow if machine(true), group(\"robots\"), user(\"ci\"), client_kind(\"pre_registered\");\nallow if user(\"alice\");\n",
    )?;
    let more = format!("[policy]\nfile = \"{}\"\n", file.display());
    let world = ServiceFixture::with(StoreKind::Embedded, &more).await?;
    let gateway = world.gateway();
    let machine = token(&world.ask(&[]).await?)?;
    assert_eq!(refusal(gateway, &machine, "look").await?, "");
    assert_eq!(refusal(gateway, &machine, "echo").await?, "policy_denied");
    let (_, person) = world.fixture.signed_in().await?;
    assert_eq!(refusal(gateway, &person, "echo").await?, "");
    Ok(())
}

#[tokio::test]
async fn no_person_has_the_name_of_a_service() -> Result<()> {
    let mut world = ServiceFixture::with(StoreKind::Embedded, "").await?;
    let password = "bobs long password\n";
    let taken = command(world.gateway(), &["users", "add", "CI"], password).await?;
    assert_eq!(taken.code, 1, "{taken:?}");
    assert!(taken.errors.contains("[[service]]"), "{}", taken.errors);
    // Somebody who was there before: the gateway does not start.
    let more = world.fixture.gateway.setup().more.clone();
    world.fixture.gateway.setup().more = String::new();
    world.fixture.gateway.restart().await?;
    done(world.gateway(), &["users", "add", "ci"], password).await?;
    world.fixture.gateway.setup().more = more;
    let failed = world.fixture.gateway.restart().await;
    let said = format!("{:#}", failed.err().context("it started")?);
    assert!(said.contains("the service `ci`"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_client_for_machines_asks_nobody_from_another_machine_either() -> Result<()> {
    let world = ServiceFixture::with(StoreKind::Embedded, "").await?;
    let request = http::client().post(world.gateway().url("/device_authorization"));
    let request = request.basic_auth("plain", Some(SECRET));
    let reply = http::send(request.form(&[("scope", "mcp")])).await?;
    assert_eq!(
        (reply.status, reply.error().as_str()),
        (400, "unauthorized_client"),
        "{}",
        reply.text
    );
    Ok(())
}

#[tokio::test]
async fn the_name_of_a_service_that_no_client_acts_as_is_nobodys_either() -> Result<()> {
    let fixture = Fixture::with(StoreKind::Embedded, |setup| {
        setup.more("[[service]]\nname = \"idle\"\n")
    })
    .await?;
    let gateway = &fixture.gateway;
    let taken = command(gateway, &["users", "add", "idle"], "a long password\n").await?;
    assert_eq!(taken.code, 1, "{taken:?}");
    assert!(taken.errors.contains("[[service]]"), "{}", taken.errors);
    let grants = done(gateway, &["grants", "ls", "--user", "idle", "--json"], "").await?;
    assert_eq!(grants.json()["grants"], json!([]));
    Ok(())
}
