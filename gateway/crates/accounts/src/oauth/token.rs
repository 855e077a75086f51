//! The token endpoint of a backend's authorization server, also of those that have a form of their own.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::{Map, Value};
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use crate::accounts::{AccountBackend, Accounts};
use crate::oauth::bounds;
use crate::oauth::client::{Client, Method};
use crate::oauth::failure::Failure;
use crate::oauth::server::{Server, endpoint_url};
use gateway_core::client::secret_basic::basic;
use gateway_core::secret::{Secret, SecretHash};
use gateway_fetch::{Answered, Body, FetchError};

/// What the server gives. Never printed.
pub(crate) struct Tokens {
    pub(crate) access: Zeroizing<String>,
    pub(crate) refresh: Option<Zeroizing<String>>,
    /// How long the access token lasts; `None`: it has no end.
    pub(crate) lasts: Option<Duration>,
    /// What it is for, if that was said.
    pub(crate) scopes: Option<Vec<String>>,
    /// What the account is called there, if that was said.
    pub(crate) called: Option<String>,
    /// Of what names it there, if that was said.
    pub(crate) subject: Option<SecretHash>,
}

impl Accounts {
    /// Exchanges what `parameters` say for tokens.
    pub(crate) async fn ask_for_tokens(
        &self,
        of: &AccountBackend,
        server: &Server,
        client: &Client,
        parameters: &[(&str, &str)],
    ) -> Result<Tokens, Failure> {
        let url = endpoint_url(&server.token_endpoint)?;
        let mut all: Vec<(&str, &str)> = parameters.to_vec();
        let identity = identify(client, &mut all);
        let authorization = identity.as_ref().map(|text| text.as_str());
        let form = form(&all);
        let post = |body| of.fetch.ask(&url, authorization, Some(body));
        let mut answered = post(Body::Form(&form)).await;
        // Some take nothing but JSON, which is no OAuth (Notion is one): nothing of the form was used then.
        if client.method == Method::Basic && is_form_not_taken(&answered) {
            let object: Map<String, Value> = parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
                .collect();
            let json = Zeroizing::new(Value::Object(object).to_string());
            answered = post(Body::Json(&json)).await;
        }
        let answered = answered.map_err(|error| Failure::of_fetch(&url, &error))?;
        read(answered.status, &answered.body, &url)
    }
}

/// Parameters as a form. Never printed.
pub(crate) fn form(parameters: &[(&str, &str)]) -> Zeroizing<String> {
    let mut form = Serializer::new(String::new());
    form.extend_pairs(parameters);
    Zeroizing::new(form.finish())
}

/// What shows who the client is: a header, or parameters.
pub(crate) fn identify<'a>(
    client: &'a Client,
    parameters: &mut Vec<(&'a str, &'a str)>,
) -> Option<Zeroizing<String>> {
    match (client.method, &client.secret) {
        (Method::Basic, Some(secret)) => Some(Zeroizing::new(basic(&client.id, secret))),
        (Method::Post, Some(secret)) => {
            parameters.push(("client_id", &client.id));
            parameters.push(("client_secret", secret));
            None
        }
        (Method::None, _) | (_, None) => {
            parameters.push(("client_id", &client.id));
            None
        }
    }
}

/// Whether the answer says nothing that a token endpoint says, but that the body is not of its form.
fn is_form_not_taken(answered: &Result<Answered, FetchError>) -> bool {
    match answered {
        Err(FetchError::Status(status)) => {
            *status == StatusCode::UNSUPPORTED_MEDIA_TYPE || *status == StatusCode::BAD_REQUEST
        }
        Ok(answered) if answered.status == StatusCode::BAD_REQUEST => {
            let answer: Value = serde_json::from_slice(&answered.body).unwrap_or_default();
            // A code of RFC 6749 §5.2 says that the request was understood.
            let is_of_oauth = answer["error"]
                .as_str()
                .is_some_and(|error| error.starts_with("invalid_") || error.starts_with("un"));
            !is_of_oauth
        }
        _ => false,
    }
}

fn read(status: StatusCode, body: &[u8], url: &Url) -> Result<Tokens, Failure> {
    let invalid = |what: String| Failure::invalid_answer(url, &what);
    let none = || Failure::invalid_answer(url, "its answer is no JSON object of tokens");
    let answer: Value = serde_json::from_slice(body).map_err(|_| none())?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if status != StatusCode::OK || !answer["error"].is_null() || answer["ok"] == false {
        return Err(Failure::of_token_endpoint(answer["error"].as_str()));
    }
    // Where a whole workspace has tokens, too, what is the person's stands below (Slack).
    let own = match &answer["authed_user"] {
        own @ Value::Object(_) if own["access_token"].is_string() => own,
        _ => &answer,
    };
    let access = text(&own["access_token"]).filter(|token| !token.is_empty());
    let access = access.ok_or_else(none)?;
    let access = bounds::text("access_token", access, bounds::ACCESS_TOKEN).map_err(invalid)?;
    let refresh = text(&own["refresh_token"]).filter(|token| !token.is_empty());
    let refresh = refresh.map(|token| bounds::text("refresh_token", token, bounds::REFRESH_TOKEN));
    let refresh = refresh.transpose().map_err(invalid)?;
    let scopes = own["scope"].as_str().map(|scope| {
        let parts = scope.split([' ', ',']).filter(|part| !part.is_empty());
        bounds::scopes(parts)
    });
    let claims = answer["id_token"].as_str().and_then(claims);
    let claims = claims.unwrap_or_default();
    let subject = [
        &claims["sub"],
        &own["id"],
        &answer["owner"]["user"]["id"],
        &answer["workspace_id"],
        &answer["user_id"],
        &answer["account_id"],
    ];
    let called = [
        &claims["email"],
        &claims["preferred_username"],
        &claims["name"],
        &answer["owner"]["user"]["person"]["email"],
        &answer["owner"]["user"]["name"],
        &answer["workspace_name"],
        &answer["team"]["name"],
    ];
    let subject = subject.into_iter().find_map(text);
    let issuer = text(&claims["iss"]).unwrap_or_default();
    Ok(Tokens {
        refresh: refresh.map(Zeroizing::new),
        lasts: seconds(&own["expires_in"]),
        scopes: scopes.transpose().map_err(invalid)?,
        called: called
            .into_iter()
            .find_map(Value::as_str)
            .map(bounds::called),
        subject: subject.map(|subject| Secret::presented(format!("{issuer} {subject}")).hash()),
        access: Zeroizing::new(access),
    })
}

/// A number of seconds, which some write as a text. None at all is no end, and so is zero.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::String(text) => text.parse().ok()?,
        value => value.as_f64()?,
    };
    let is_sound = seconds.is_finite() && seconds >= 1.0;
    is_sound
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
}

/// What an ID token says, which came from the server itself over a connection that shows who it is (OpenID
/// Connect Core §3.1.3.7, 6). Nobody is logged in by it: it tells one account from another.
fn claims(token: &str) -> Option<Value> {
    let part = token.split('.').nth(1)?;
    let bytes = URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&bytes).ok()?;
    claims.is_object().then_some(claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gateway_core::reason::Reason;
    use serde_json::json;

    fn answer(status: u16, body: &Value) -> Result<Tokens, Failure> {
        let url = Url::parse("https://as.example/token").unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        read(status, body.to_string().as_bytes(), &url)
    }

    #[test]
    fn tokens_are_found_in_what_the_known_servers_answer() {
        let plain =
            json!({"access_token": "a", "refresh_token": "r", "expires_in": 60, "scope": "x y"});
        let tokens = answer(200, &plain).ok().unwrap();
        assert_eq!(
            (&**tokens.access, tokens.lasts),
            ("a", Some(Duration::from_secs(60)))
        );
        assert_eq!(tokens.refresh.as_deref().map(String::as_str), Some("r"));
        assert_eq!(tokens.scopes, Some(vec!["x".to_owned(), "y".to_owned()]));
        // GitHub's has no end and parts its scopes by commas.
        let github = json!({"access_token": "gho_1", "token_type": "bearer", "scope": "repo,user"});
        let tokens = answer(200, &github).ok().unwrap();
        assert_eq!((tokens.lasts, tokens.refresh.is_none()), (None, true));
        assert_eq!(tokens.scopes.unwrap().len(), 2);
        // Slack's has the person's below the workspace's.
        let slack = json!({"ok": true, "access_token": "xoxb", "team": {"name": "T"}, "authed_user": {
            "id": "U1", "access_token": "xoxp", "expires_in": "43200"}});
        let tokens = answer(200, &slack).ok().unwrap();
        assert_eq!(
            (&**tokens.access, tokens.called.as_deref()),
            ("xoxp", Some("T"))
        );
        assert_eq!(tokens.lasts, Some(Duration::from_secs(43_200)));
        let notion = json!({"access_token": "ntn", "workspace_id": "w", "workspace_name": "W",
            "owner": {"user": {"id": "u-1", "name": "Alice"}}});
        let tokens = answer(200, &notion).ok().unwrap();
        assert_eq!(tokens.called.as_deref(), Some("Alice"));
        assert!(tokens.subject.is_some());
    }

    #[test]
    fn an_account_is_told_from_another_by_its_issuer_and_subject() {
        let of = |issuer: &str, subject: &str| {
            let claims = json!({"iss": issuer, "sub": subject, "email": "a@example.com"});
            let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims.to_string()));
            let tokens = answer(200, &json!({"access_token": "a", "id_token": token}));
            tokens.ok().unwrap()
        };
        assert_eq!(of("i", "1").called.as_deref(), Some("a@example.com"));
        assert_eq!(of("i", "1").subject, of("i", "1").subject);
        assert_ne!(of("i", "1").subject, of("i", "2").subject);
        assert_ne!(of("i", "1").subject, of("j", "1").subject);
    }

    #[test]
    fn what_is_larger_than_an_account_is_refused_and_said_without_repeating_it() {
        let long = |length: usize| "t0ken".repeat(length / 5 + 1);
        for (member, value) in [
            ("access_token", long(8 * 1024)),
            ("refresh_token", long(16 * 1024)),
            ("scope", "a ".repeat(101)),
            ("scope", long(200)),
        ] {
            let mut tokens = json!({"access_token": "a"});
            tokens[member] = json!(value);
            let Err(Failure::Because(Reason::AccountAnswerInvalid, detail)) = answer(200, &tokens)
            else {
                panic!("{member}");
            };
            assert!(detail.len() < 200 && !detail.contains("t0ken"), "{detail}");
        }
        let named = json!({"access_token": "a", "workspace_name": long(10_000)});
        let tokens = answer(200, &named).ok().unwrap();
        assert_eq!(tokens.called.map(|name| name.len()), Some(200));
    }

    #[test]
    fn refusals_are_known_whatever_their_status() {
        for (status, body) in [
            (400, json!({"error": "invalid_grant"})),
            (200, json!({"error": "bad_verification_code"})),
            (200, json!({"ok": false, "error": "invalid_refresh_token"})),
        ] {
            let failure = answer(status, &body).err().unwrap();
            assert!(
                matches!(failure, Failure::GrantGone(_)),
                "{body} {failure:?}"
            );
        }
        for body in [
            json!({}),
            json!({"access_token": ""}),
            json!([]),
            json!("x"),
        ] {
            assert!(answer(200, &body).is_err(), "{body}");
        }
        for ends in [json!(0), json!(-1), json!("x"), json!(null), json!(1e300)] {
            let tokens = answer(200, &json!({"access_token": "a", "expires_in": ends}));
            assert_eq!(tokens.ok().unwrap().lasts, None, "{ends}");
        }
    }

    #[test]
    fn another_body_is_tried_only_where_the_first_was_not_understood() {
        let answered = |status: u16, body: &str| {
            Ok(Answered {
                status: StatusCode::from_u16(status).unwrap(),
                body: body.to_owned().into(),
                max_age: None,
            })
        };
        let unsupported = FetchError::Status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(is_form_not_taken(&Err(unsupported)));
        let notion = r#"{"object":"error","status":400,"code":"validation_error"}"#;
        assert!(is_form_not_taken(&answered(400, notion)));
        for (status, body) in [
            (400, r#"{"error":"invalid_grant"}"#),
            (400, r#"{"error":"invalid_request"}"#),
            (400, r#"{"error":"unauthorized_client"}"#),
            (401, r#"{"error":"invalid_client"}"#),
            (200, r#"{"access_token":"a"}"#),
        ] {
            assert!(!is_form_not_taken(&answered(status, body)), "{body}");
        }
        assert!(!is_form_not_taken(&Err(FetchError::TooSlow)));
    }
}
