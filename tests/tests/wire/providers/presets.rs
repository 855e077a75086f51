//! What is particular to Google and to Microsoft Entra, by providers of the test's own that say what those
//! say: the preset counts whatever its issuer is.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tests::browser::Page;
use tests::fixture::{Fixture, StoreKind};
use tests::identity_provider::Person;
use tests::keys::{Signer, now};
use tests::recorder::{Answer, Recorded, Recorder};

use super::url;

const DIRECTORY: &str = "11111111-2222-3333-4444-555555555555";
const OTHER_DIRECTORY: &str = "aaaaaaaa-2222-3333-4444-555555555555";

/// What a scripted provider says next.
struct Script {
    signer: Signer,
    /// The issuer of its document; `ORIGIN` stands for where it listens.
    issuer: String,
    claims: Mutex<Value>,
}

impl Script {
    fn answer(&self, request: &Recorded) -> Answer {
        let origin = format!("http://{}", request.header("host").unwrap_or_default());
        let path = request.path();
        if path.ends_with("/.well-known/openid-configuration") {
            let at = |name: &str| format!("{origin}/{name}");
            return Answer::json(
                200,
                &json!({
                    "issuer": self.issuer.replace("ORIGIN", &origin),
                    "authorization_endpoint": at("authorize"),
                    "token_endpoint": at("token"),
                    "jwks_uri": at("keys"),
                }),
            );
        }
        match path {
            "/keys" => Answer::json(200, &self.signer.jwks()),
            "/token" => {
                let claims = self.claims.lock().expect("no panic under it").clone();
                let id_token = self.signer.sign(&self.signer.header(), &claims);
                let answer =
                    json!({ "id_token": id_token, "access_token": "x", "token_type": "Bearer" });
                Answer::json(200, &answer)
            }
            _ => Answer::json(404, &json!({})),
        }
    }
}

/// A gateway with a provider that plays one of the large ones.
struct Played {
    fixture: Fixture,
    provider: Recorder,
    script: Arc<Script>,
    button: &'static str,
}

impl Played {
    /// `issuer`: as configured, and `document`: as the provider's document names it, both behind its
    /// origin.
    async fn start(
        (preset, button): (&str, &'static str),
        issuer: &str,
        document: &str,
        login: &str,
    ) -> Result<Self> {
        let script = Arc::new(Script {
            signer: Signer::rsa("k")?,
            issuer: format!("ORIGIN{document}"),
            claims: Mutex::default(),
        });
        let playing = Arc::clone(&script);
        let provider = Recorder::start(move |request| playing.answer(request)).await?;
        let issuer = format!("{}{issuer}", provider.url());
        let fixture = Fixture::with(StoreKind::Embedded, |setup| {
            setup.more(&format!(
                "[[login]]\nname = \"corp\"\npreset = \"{preset}\"\nissuer = \"{issuer}\"\n\
                 client_id = \"gateway\"\nclient_secret = \"secret\"\n{login}\n"
            ))
        });
        Ok(Self {
            fixture: fixture.await?,
            provider,
            script,
            button,
        })
    }

    /// Where a login leads of which the provider says this; `ORIGIN` in an `iss` as above.
    async fn log_in(&self, subject: &str, claims: Value) -> Result<(Person, Page)> {
        let mut person = Person::default();
        let account = url(&self.fixture.gateway.url("/account"));
        let page = person.here.visit(&account).await?;
        let started = person.press(&page, self.button).await?;
        let Some(there) = started.location() else {
            return Ok((person, started));
        };
        let sent = |name: &str| {
            let found = there.query_pairs().find(|(key, _)| key == name);
            found
                .map(|(_, value)| value.into_owned())
                .with_context(|| format!("no {name} in {there}"))
        };
        let seconds = now().as_secs();
        let mut all = json!({
            "sub": subject, "aud": "gateway", "nonce": sent("nonce")?,
            "iat": seconds, "exp": seconds + 300, "iss": self.provider.url(),
        });
        for (name, value) in claims.as_object().context("claims")? {
            let value = match value.as_str() {
                Some(text) => json!(text.replace("ORIGIN", &self.provider.url())),
                None => value.clone(),
            };
            all[name] = value;
        }
        *self.script.claims.lock().expect("no panic under it") = all;
        let mut back = url(&sent("redirect_uri")?);
        back.query_pairs_mut()
            .append_pair("code", "one")
            .append_pair("state", &sent("state")?);
        let page = person.here.visit(&back).await?;
        Ok((person, page))
    }

    /// The same, and whether it logs the person in: with nothing said where it does.
    async fn expect(&self, subject: &str, claims: Value, said: &str) -> Result<()> {
        let (person, page) = self.log_in(subject, claims.clone()).await?;
        let words = page.words();
        let has_session = person.here.cookies.contains_key("session");
        assert_eq!(has_session, said.is_empty(), "{claims}: {words}");
        assert!(words.contains(said), "{said}\n{claims}: {words}");
        Ok(())
    }
}

const GOOGLE: (&str, &str) = ("google", "Log in with Google");
const ENTRA: (&str, &str) = ("entra", "Log in with Microsoft");

#[tokio::test]
async fn an_account_at_google_is_of_a_domain_only_where_its_workspace_says_so() -> Result<()> {
    let google = Played::start(GOOGLE, "", "", "allow = [\"*@example.com\"]").await?;
    let account = |hosted: Value, verified: bool| json!({ "email": "a@example.com", "email_verified": verified, "hd": hosted });
    google
        .expect("1", account(json!("example.com"), true), "")
        .await?;
    // Somebody opened an account with an address of the domain, or left the domain and kept theirs.
    let not_of_it = "rule *@example.com: the account is not of that domain";
    for hosted in [json!(null), json!("other.org"), json!(""), json!(true)] {
        google.expect("2", account(hosted, true), not_of_it).await?;
    }
    let unverified = "rule *@example.com: the provider has not verified the address";
    google
        .expect("3", account(json!("example.com"), false), unverified)
        .await?;
    // The address alone says nothing either.
    let gmail = json!({ "email": "a@gmail.com", "email_verified": true, "hd": "example.com" });
    google
        .expect("4", gmail, "Reason person_not_allowed")
        .await?;
    Ok(())
}

fn of(tenant: &str) -> String {
    format!("ORIGIN/{tenant}/v2.0")
}

/// What a directory says of its people.
fn from(tenant: &str) -> Value {
    json!({ "iss": of(tenant), "tid": tenant })
}

#[tokio::test]
async fn a_document_of_entra_for_every_directory_is_filled_in_by_the_token() -> Result<()> {
    let common = ("/common/v2.0", "/{tenantid}/v2.0");
    let entra = Played::start(ENTRA, common.0, common.1, "allow = [\"*\"]").await?;
    for (subject, tenant) in [("1", DIRECTORY), ("2", OTHER_DIRECTORY)] {
        entra.expect(subject, from(tenant), "").await?;
    }
    // The same subject in another directory is somebody else.
    let users = async || -> Result<usize> {
        let users = tests::operator::done(&entra.fixture.gateway, &["users", "ls", "--json"], "");
        Ok(users.await?.json()["users"].as_array().map_or(0, Vec::len))
    };
    let before = users().await?;
    entra.expect("1", from(OTHER_DIRECTORY), "").await?;
    assert_eq!(users().await?, before + 1);
    let said = "Reason id_token_issuer";
    for issuer in [
        of("{tenantid}"),
        of("common"),
        of("example"),
        of(&format!("{DIRECTORY}/x")),
        format!("http://127.0.0.1:1/{DIRECTORY}/v2.0"),
        format!("ORIGIN/{DIRECTORY}"),
    ] {
        let claims = json!({ "iss": issuer, "tid": DIRECTORY });
        entra.expect("3", claims, said).await?;
    }
    // The directory is the one that both name.
    for tid in [
        json!(OTHER_DIRECTORY),
        json!(null),
        json!("{tenantid}"),
        json!(""),
    ] {
        let claims = json!({ "iss": of(DIRECTORY), "tid": tid });
        entra.expect("3", claims, said).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_directory_of_entra_that_is_named_by_its_id_is_no_other() -> Result<()> {
    let own = format!("/{DIRECTORY}/v2.0");
    let entra = Played::start(ENTRA, &own, &own, "allow = [\"*\"]").await?;
    entra
        .expect("1", json!({ "iss": of(DIRECTORY) }), "")
        .await?;
    let other = json!({ "iss": of(OTHER_DIRECTORY) });
    entra.expect("2", other, "Reason id_token_issuer").await?;
    // A document for all stands for none of them.
    let entra = Played::start(ENTRA, &own, "/{tenantid}/v2.0", "allow = [\"*\"]").await?;
    let said = "Reason provider_document_invalid";
    entra
        .expect("1", json!({ "iss": of(DIRECTORY) }), said)
        .await
}

#[tokio::test]
async fn groups_that_entra_leaves_out_are_no_news() -> Result<()> {
    let own = format!("/{DIRECTORY}/v2.0");
    let login = "groups_claim = \"groups\"\nallow = [\"group:staff\"]";
    let entra = Played::start(ENTRA, &own, &own, login).await?;
    let with = |more: Value| {
        let mut claims = json!({ "iss": of(DIRECTORY) });
        if let (Some(claims), Some(more)) = (claims.as_object_mut(), more.as_object()) {
            claims.extend(more.clone());
        }
        claims
    };
    let left_out = with(json!({
        "_claim_names": { "groups": "src1" },
        "_claim_sources": { "src1": { "endpoint": "http://127.0.0.1:1/getMemberObjects" } },
    }));
    let said = "rule group:staff: the provider did not say all groups";
    entra.expect("1", left_out.clone(), said).await?;
    // It is no login; and nobody has left by it, so that whoever came in before stays.
    let staff = with(json!({ "groups": ["staff"] }));
    let (mut before, _) = entra.log_in("1", staff).await?;
    entra.expect("1", left_out, said).await?;
    let account = url(&entra.fixture.gateway.url("/account"));
    let page = before.here.visit(&account).await?;
    assert_eq!(page.url.path(), "/account", "{}", page.words());
    // A list without it is another matter.
    let other = with(json!({ "groups": ["other"] }));
    let not_in_it = "rule group:staff: not in that group";
    entra.expect("1", other, not_in_it).await?;
    let page = before.here.visit(&account).await?;
    assert!(page.form_with_button(ENTRA.1).is_ok(), "{}", page.words());
    Ok(())
}

#[tokio::test]
async fn an_address_of_entra_counts_only_where_the_owner_of_its_domain_is_known() -> Result<()> {
    let own = format!("/{DIRECTORY}/v2.0");
    let entra = Played::start(ENTRA, &own, &own, "allow = [\"*@example.com\"]").await?;
    let unverified = "rule *@example.com: the provider has not verified the address";
    for (subject, claim, value, said) in [
        ("1", "email_verified", json!(true), unverified),
        ("2", "xms_edov", json!(false), unverified),
        ("3", "xms_edov", json!("0"), unverified),
        ("4", "xms_edov", json!(true), ""),
        ("5", "xms_edov", json!("1"), ""),
    ] {
        let claims = json!({ "iss": of(DIRECTORY), "email": format!("{subject}@example.com"), claim: value });
        entra.expect(subject, claims, said).await?;
    }
    Ok(())
}
