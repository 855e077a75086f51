//! Clients that show a secret, or should.

use super::*;

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

async fn with_method(fixture: &Fixture, method: &str) -> Result<(OAuthClient, String)> {
    let metadata = json!({
        "client_name": method,
        "redirect_uris": [REDIRECT_URI],
        "token_endpoint_auth_method": method,
    });
    let client = OAuthClient::register_with(&fixture.gateway.origin(), &metadata).await?;
    let secret = client.registration["client_secret"].as_str();
    let secret = secret.unwrap_or_default().to_owned();
    Ok((client, secret))
}

/// Sends a form with a header of its own.
async fn form(
    url: &str,
    fields: &[(String, String)],
    authorization: Option<&str>,
) -> Result<http::Reply> {
    let mut request = http::client().post(url).form(fields);
    if let Some(value) = authorization {
        request = request.header("Authorization", value);
    }
    http::send(request).await
}

fn and_secret(fields: &[(String, String)], secret: &str) -> Vec<(String, String)> {
    let shown = ("client_secret".to_owned(), secret.to_owned());
    fields.iter().cloned().chain([shown]).collect()
}

#[tokio::test]
async fn a_client_with_a_secret_shows_it_in_the_header_or_in_the_body_at_every_grant() -> Result<()>
{
    let refreshing = |setup: Setup| setup.more("[tokens]\nrefresh = true\n");
    let fixture = Fixture::with(StoreKind::Embedded, refreshing).await?;
    let (token_url, revoke_url) = (fixture.url("/token"), fixture.url("/revoke"));
    for method in ["client_secret_basic", "client_secret_post"] {
        let (client, secret) = with_method(&fixture, method).await?;
        let id = client.client_id.as_str();
        let header = basic(id, &secret);
        for in_header in [true, false] {
            let send = async |url: &str, fields: &[(String, String)]| {
                if in_header {
                    form(url, fields, Some(&header)).await
                } else {
                    form(url, &and_secret(fields, &secret), None).await
                }
            };
            let what = format!("{method}, header: {in_header}");
            let (code, request) = fresh_code(&fixture, &client).await?;
            let fields = client.token_request(&code, &request.pkce.verifier);
            for (fields, authorization) in [
                (fields.clone(), None),
                (and_secret(&fields, "wrong"), None),
                (fields.clone(), Some(basic(id, "wrong"))),
                (fields.clone(), Some(basic(id, ""))),
            ] {
                let reply = form(&token_url, &fields, authorization.as_deref()).await?;
                let refusal = (reply.status, reply.error());
                assert_eq!(refusal, (401, "invalid_client".to_owned()), "{what}");
                let challenge = reply.header("www-authenticate");
                assert!(challenge.starts_with("Basic"), "{what}: {challenge}");
            }
            // Two at once are one too many (RFC 6749 §2.3).
            let twice = form(&token_url, &and_secret(&fields, &secret), Some(&header)).await?;
            assert_eq!(twice.error(), "invalid_request", "{what}");
            // The code is unharmed: nobody was authenticated.
            let reply = send(&token_url, &fields).await?;
            assert_eq!(reply.status, 200, "{what}: {}", reply.text);
            let refresh = reply.json()["refresh_token"]
                .as_str()
                .expect("one")
                .to_owned();
            let reply = send(&token_url, &client.refresh_request(&refresh)).await?;
            assert_eq!(reply.status, 200, "{what}: {}", reply.text);
            let token = reply.json()["access_token"]
                .as_str()
                .expect("one")
                .to_owned();
            let named = [
                ("token".to_owned(), token.clone()),
                ("client_id".to_owned(), id.to_owned()),
            ];
            let reply = send(&revoke_url, &named).await?;
            assert_eq!(reply.status, 200, "{what}: {}", reply.text);
            let reply = mcp::send(&fixture.url("/mcp"), &token, &mcp::initialize()).await?;
            assert_eq!(reply.status, 401, "{what}: revoked");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_empty_secret_of_a_public_client_is_none() -> Result<()> {
    let fixture = Fixture::start().await?;
    let client = fixture.client("Public").await?;
    let id = client.client_id.as_str();
    for in_body in [true, false] {
        let (code, request) = fresh_code(&fixture, &client).await?;
        let mut fields = client.token_request(&code, &request.pkce.verifier);
        if !in_body {
            fields.retain(|(name, _)| name != "client_id");
        }
        let guessed = form(&fixture.url("/token"), &fields, Some(&basic(id, "guess"))).await?;
        assert_eq!(
            guessed.status, 401,
            "a secret that it never got: {}",
            guessed.text
        );
        let reply = form(&fixture.url("/token"), &fields, Some(&basic(id, ""))).await?;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    Ok(())
}
