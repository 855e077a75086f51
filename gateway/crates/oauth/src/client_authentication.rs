//! Client authentication at the token and revocation endpoints: OAuth 2.1 §2.4, RFC 6749 §2.3,
//! RFC 7521 §4.2. What an assertion proves is found out in `client_assertion`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::client_assertion;
use crate::clients::NotFound;
use crate::server::AuthorizationServer;
use gateway_core::client::assertion::{self, Assertion};
use gateway_core::client::secret_basic::BasicSecret;
use gateway_core::client::{Client, ClientId, Credential};
use gateway_core::clock::Timestamp;
use gateway_core::grants::personal::PersonalToken;
use gateway_core::protocol::form::{self, Form, FormError, has_media_type};
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::protocol::web::Request;
use gateway_core::reason::Reason;
use gateway_core::secret::Secret;

/// Reads the body of a request to an endpoint that takes a form and nothing else.
pub(super) fn form(request: &Request) -> Result<Form, OAuthError> {
    if !has_media_type(&request.headers, "application/x-www-form-urlencoded") {
        return Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            Reason::MediaTypeWrong,
        ));
    }
    Form::parse(&request.body).map_err(malformed)
}

/// The refusal of parameters that can't be read.
pub(super) fn malformed(error: FormError) -> OAuthError {
    invalid(error.to_string())
}

/// A parameter that has to be there.
pub(super) fn required<'a>(form: &'a Form, name: &'static str) -> Result<&'a str, OAuthError> {
    let found = form.one(name).map_err(malformed)?;
    found.ok_or_else(|| invalid(format!("The parameter {name} is missing.")))
}

/// The client of a request, known and authenticated by the method that it registered.
pub(super) async fn authenticate(
    server: &AuthorizationServer,
    request: &Request,
    form: &Form,
    now: Timestamp,
) -> Result<Client, OAuthError> {
    let (id, credential) = presented(&request.headers, form)?;
    if PersonalToken::may_stand_in(id.as_str()) {
        // The app sent it to whoever writes down who asks, and did not use it as a token.
        server.revoke_exposed_tokens(id.as_str(), now).await?;
        let (code, reason) = (ErrorCode::InvalidClient, Reason::HeaderTakenForClient);
        return Err(OAuthError::new(code, reason));
    }
    let client = server
        .clients()
        .find(&id, now)
        .await
        .map_err(|error| match error {
            NotFound::Unknown(reason, _) => OAuthError::new(ErrorCode::InvalidClient, reason),
            NotFound::Fault(error) => error.into(),
            NotFound::NotNow(reason, cause) => OAuthError::fault(reason, cause),
        })?;
    if let (Credential::Assertion(assertion), Some(keys)) =
        (&credential, client.authentication.keys())
    {
        client_assertion::verify(server, request, &client, assertion, keys, now).await?;
        return Ok(client);
    }
    if !client.authentication.is_met_by(&credential) {
        return Err(OAuthError::described(
            ErrorCode::InvalidClient,
            Reason::ClientAuthenticationFailed,
            format!(
                "The client did not authenticate with its registered method, {}.",
                client.authentication.method()
            ),
        ));
    }
    Ok(client)
}

/// Who a request claims to come from, and with which proof. One method a request; a `client_id` in
/// the body beside the Authorization header is no second one if it is the same, and clients in use
/// send it.
fn presented(headers: &HeaderMap, form: &Form) -> Result<(ClientId, Credential), OAuthError> {
    let body_id = form.one("client_id").map_err(malformed)?;
    let body_secret = form.one("client_secret").map_err(malformed)?;
    if let Some(assertion) = assertion(form)? {
        if body_secret.is_some() || headers.contains_key(AUTHORIZATION) {
            return Err(invalid("The client authenticates in two ways at once."));
        }
        let id = assertion.claimed();
        if body_id.is_some_and(|body_id| body_id != id.as_str()) {
            return Err(invalid(
                "client_id differs from the sub of client_assertion.",
            ));
        }
        return Ok((id, Credential::Assertion(Box::new(assertion))));
    }
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    match (lines.next(), lines.next()) {
        (Some(_), Some(_)) => Err(invalid("The Authorization header is repeated.")),
        (Some(line), None) => {
            let (id, secret) =
                line.to_str().ok().and_then(basic).ok_or_else(|| {
                    failed("The Authorization header is not of the scheme Basic.")
                })?;
            if body_id.is_some_and(|body_id| body_id != id) {
                return Err(invalid("client_id differs from the Authorization header."));
            }
            let credential = match (secret.is_empty(), body_secret) {
                (false, Some(_)) => {
                    return Err(invalid("The client authenticates in two ways at once."));
                }
                (false, None) => Credential::Basic(secret),
                (true, Some(secret)) => Credential::Post(Secret::presented(secret)),
                (true, None) => Credential::None,
            };
            Ok((ClientId::new(id), credential))
        }
        (None, _) => {
            let id = body_id.ok_or_else(|| invalid("The parameter client_id is missing."))?;
            let credential = body_secret.map_or(Credential::None, |secret| {
                Credential::Post(Secret::presented(secret))
            });
            Ok((ClientId::new(id), credential))
        }
    }
}

/// The assertion of a request that carries one (RFC 7521 §4.2).
fn assertion(form: &Form) -> Result<Option<Assertion>, OAuthError> {
    let kind = form.one("client_assertion_type").map_err(malformed)?;
    let text = form.one("client_assertion").map_err(malformed)?;
    match (kind, text) {
        (None, None) => Ok(None),
        (Some(assertion::TYPE), Some(text)) => Assertion::parse(text)
            .map(Some)
            .map_err(client_assertion::refusal),
        (Some(_), Some(_)) => Err(failed(
            "Only jwt-bearer is served as client_assertion_type.",
        )),
        _ => Err(invalid(
            "client_assertion and client_assertion_type stand together.",
        )),
    }
}

/// Id and secret of a Basic header, each form-encoded before they were joined (RFC 6749 §2.3.1), or not.
pub(super) fn basic(header: &str) -> Option<(String, BasicSecret)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    // An address as id that was joined without being encoded first, to no secret.
    let is_address = joined.starts_with("https://") && joined.ends_with(':');
    let (id, secret) = if is_address {
        joined.rsplit_once(':')?
    } else {
        joined.split_once(':')?
    };
    Some((form::decode(id.as_bytes())?, BasicSecret::read(secret)))
}

/// The refusal of a request that is not of its form.
pub(super) fn invalid(description: impl AsRef<str>) -> OAuthError {
    OAuthError::described(
        ErrorCode::InvalidRequest,
        Reason::RequestMalformed,
        description,
    )
}

fn failed(description: &str) -> OAuthError {
    OAuthError::described(
        ErrorCode::InvalidClient,
        Reason::ClientAuthenticationFailed,
        description,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(authorization: &[&str], body: &str) -> Result<(String, Credential), ErrorCode> {
        let mut headers = HeaderMap::new();
        for line in authorization {
            headers.append(AUTHORIZATION, line.parse().unwrap());
        }
        let form = Form::parse(body.as_bytes()).unwrap();
        presented(&headers, &form)
            .map(|(id, credential)| (id.as_str().to_owned(), credential))
            .map_err(|error| error.code)
    }

    fn basic_line(joined: &str) -> String {
        format!("Basic {}", STANDARD.encode(joined))
    }

    #[test]
    fn each_method_is_read_as_what_it_is() {
        let secret = |text: &str| Secret::presented(text);
        assert_eq!(
            read(&[], "client_id=c_1"),
            Ok(("c_1".to_owned(), Credential::None))
        );
        assert_eq!(
            read(&[], "client_id=c_1&client_secret=s"),
            Ok(("c_1".to_owned(), Credential::Post(secret("s"))))
        );
        assert_eq!(
            read(&[], "client_id=c_1&client_secret="),
            Ok(("c_1".to_owned(), Credential::None))
        );
        let expected = Credential::Basic(BasicSecret::read("s+d%25"));
        let expected = Ok(("c:1".to_owned(), expected));
        let line = basic_line("c%3A1:s+d%25");
        assert_eq!(read(&[&line], ""), expected);
        assert_eq!(read(&[&line], "client_id=c%3A1"), expected);
        assert_eq!(read(&[&line.replace("Basic", "bAsIc")], ""), expected);
        for (joined, body, id, credential) in [
            ("c_1:", "", "c_1", Credential::None),
            ("c_1:", "client_id=c_1", "c_1", Credential::None),
            (
                "c_1:",
                "client_secret=s",
                "c_1",
                Credential::Post(secret("s")),
            ),
            (
                "https%3A%2F%2Fa.example%2Fc:",
                "",
                "https://a.example/c",
                Credential::None,
            ),
            (
                "https://a.example/c:",
                "",
                "https://a.example/c",
                Credential::None,
            ),
        ] {
            let expected = Ok((id.to_owned(), credential));
            assert_eq!(
                read(&[&basic_line(joined)], body),
                expected,
                "{joined} {body}"
            );
        }
    }

    #[test]
    fn two_methods_or_two_clients_in_one_request_are_invalid() {
        let line = basic_line("c_1:s");
        for (lines, body) in [
            (vec![line.as_str()], "client_secret=s"),
            (vec![line.as_str()], "client_id=c_2"),
            (vec![line.as_str(), line.as_str()], ""),
            (vec![], "client_id=c_1&client_id=c_1"),
            (vec![], ""),
        ] {
            assert_eq!(read(&lines, body), Err(ErrorCode::InvalidRequest), "{body}");
        }
    }

    #[test]
    fn a_method_that_is_not_served_fails_as_the_client_it_is() {
        for line in ["Bearer abc", "Basic", "Basic !!!", &basic_line("no-colon")] {
            assert_eq!(
                read(&[line], "client_id=c_1"),
                Err(ErrorCode::InvalidClient),
                "{line}"
            );
        }
        for (body, code) in [
            ("client_assertion=x", ErrorCode::InvalidRequest),
            (
                "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer",
                ErrorCode::InvalidRequest,
            ),
            (
                "client_assertion=x&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Asaml2-bearer",
                ErrorCode::InvalidClient,
            ),
            (
                "client_assertion=x&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer",
                ErrorCode::InvalidClient,
            ),
        ] {
            let body = format!("client_id=c_1&{body}");
            assert_eq!(read(&[], &body), Err(code), "{body}");
        }
    }
}
