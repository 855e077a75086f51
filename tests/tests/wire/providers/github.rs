//! GitHub, whose API a stand-in answers: no ID token, private addresses, organisations and teams.

use anyhow::{Context, Result};
use serde_json::json;
use tests::fixture::{Fixture, StoreKind};
use tests::identity_provider::Person;
use tests::recorder::{Answer, Recorded, Recorder};

use super::url;

fn answer(request: &Recorded) -> Answer {
    let bearer = request.header("authorization") == Some("Bearer gho_token");
    match request.path() {
        "/login/oauth/access_token" => {
            let body = String::from_utf8_lossy(&request.body);
            let is_right = body.contains("code=right")
                && body.contains("code_verifier=")
                && body.contains("client_secret=secret");
            if is_right {
                let token = json!({ "access_token": "gho_token", "token_type": "bearer" });
                Answer::json(200, &token)
            } else {
                // GitHub says what is wrong with 200.
                Answer::json(200, &json!({ "error": "bad_verification_code" }))
            }
        }
        _ if !bearer => Answer::json(401, &json!({ "message": "Bad credentials" })),
        "/api/v3/user" => Answer::json(
            200,
            &json!({ "id": 583_231, "login": "octocat", "email": null }),
        ),
        "/api/v3/user/emails" => Answer::json(
            200,
            &json!([
                { "email": "octocat@users.noreply.github.com", "verified": true, "primary": true },
                { "email": "Octo@Example.com", "verified": true, "primary": false },
                { "email": "octo@unverified.org", "verified": false, "primary": false },
            ]),
        ),
        "/api/v3/user/orgs" => Answer::json(200, &json!([{ "login": "example" }])),
        "/api/v3/user/teams" => Answer::json(
            200,
            &json!([
                { "slug": "core", "organization": { "login": "example" } },
            ]),
        ),
        _ => Answer::json(404, &json!({})),
    }
}

#[tokio::test]
async fn a_person_of_github_is_an_id_with_verified_addresses_organisations_and_teams() -> Result<()>
{
    let github = Recorder::start(answer).await?;
    for (rule, comes_in) in [
        ("*@example.com", true),
        ("octo@example.com", true),
        ("*@unverified.org", false),
        ("group:example", true),
        ("group:example/core", true),
        ("group:example/other", false),
    ] {
        let site = github.url();
        let fixture = Fixture::with(StoreKind::Embedded, |setup| {
            setup.more(&format!(
                "[[login]]\nname = \"github\"\npreset = \"github\"\nissuer = \"{site}\"\n\
                 client_id = \"Iv1\"\nclient_secret = \"secret\"\nallow = [\"{rule}\"]\n"
            ))
        })
        .await?;
        let come_back = async |person: &mut Person, code: &str| {
            let page = person
                .here
                .visit(&url(&fixture.gateway.url("/account")))
                .await?;
            let started = person.press(&page, "Log in with GitHub").await?;
            let there = started.location().with_context(|| started.words())?;
            assert!(
                there
                    .as_str()
                    .starts_with(&format!("{site}/login/oauth/authorize?"))
            );
            let asked: std::collections::BTreeMap<_, _> = there.query_pairs().collect();
            assert_eq!(asked["code_challenge_method"], "S256");
            assert_eq!(
                asked["scope"].contains("read:org"),
                rule.starts_with("group:")
            );
            let mut back = url(&asked["redirect_uri"]);
            back.query_pairs_mut()
                .append_pair("code", code)
                .append_pair("state", &asked["state"]);
            person.here.visit(&back).await
        };
        let mut octocat = Person::default();
        let page = come_back(&mut octocat, "wrong").await?;
        assert!(
            page.words().contains("bad_verification_code"),
            "{}",
            page.words()
        );
        let page = come_back(&mut octocat, "right").await?;
        let words = page.words();
        let has_session = octocat.here.cookies.contains_key("session");
        assert_eq!(has_session, comes_in, "{rule}: {words}");
        if comes_in {
            // A name here is no address that GitHub does not answer for.
            assert!(words.contains("Logged in as octocat@github"), "{words}");
        } else {
            assert!(words.contains("GitHub recognised: octocat"), "{words}");
        }
    }
    Ok(())
}
