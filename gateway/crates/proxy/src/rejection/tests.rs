//! What clients are answered.

use super::*;
use crate::mcp_error::Delivery;
use gateway_core::policy::Refused;
use gateway_core::protocol::scope::Scope;

fn challenge() -> Challenge {
    Challenge {
        resource_metadata: "https://h/.well-known/oauth-protected-resource/mcp".to_owned(),
        scope: Scope::parse("mcp"),
    }
}

fn header(rejection: &Rejection) -> Option<String> {
    let response = rejection.answer().response(Some(&challenge()), "r1");
    let value = response.headers().get(WWW_AUTHENTICATE)?;
    Some(value.to_str().unwrap().to_owned())
}

#[test]
fn without_a_token_the_challenge_names_no_error() {
    assert_eq!(
        header(&Rejection::NoToken).unwrap(),
        "Bearer resource_metadata=\"https://h/.well-known/oauth-protected-resource/mcp\", scope=\"mcp\""
    );
}

#[test]
fn a_token_that_does_not_count_is_named_as_such() {
    let rejection = Rejection::Token(TokenRejection::Invalid(Reason::TokenExpired));
    assert_eq!(
        header(&rejection).unwrap(),
        "Bearer error=\"invalid_token\", error_description=\"The access token is past its lifetime.\", \
         resource_metadata=\"https://h/.well-known/oauth-protected-resource/mcp\", scope=\"mcp\""
    );
    assert_eq!(
        rejection
            .answer()
            .response(Some(&challenge()), "r1")
            .status(),
        401
    );
}

#[test]
fn a_missing_right_is_403_with_the_scope_that_is_needed() {
    let rejection = Rejection::Refused(Box::new(RefusedCall {
        refused: Refused {
            refusal: Refusal::Scope(Scope::parse("write read")),
            calls: Vec::new(),
        },
        is_stateless: false,
        is_batch: false,
        delivery: Delivery::Response,
    }));
    assert_eq!(
        rejection
            .answer()
            .response(Some(&challenge()), "r1")
            .status(),
        403
    );
    let challenge = header(&rejection).unwrap();
    assert!(challenge.starts_with("Bearer error=\"insufficient_scope\", "));
    assert!(challenge.ends_with("/mcp\", scope=\"read write\""));
    assert_eq!(header(&Rejection::Origin("null".to_owned())), None);
}

#[test]
fn a_fault_of_ours_never_looks_like_a_bad_token() {
    for (rejection, status) in [
        (
            Rejection::Token(TokenRejection::Unknown(Reason::StoreUnavailable)),
            503,
        ),
        (
            Rejection::Upstream(Failure::TimedOut("the answer"), None),
            504,
        ),
        (
            Rejection::Upstream(Failure::Unreachable("x".into()), None),
            502,
        ),
        (Rejection::UpstreamRefusedUs, 502),
    ] {
        let response = rejection.answer().response(Some(&challenge()), "r1");
        assert_eq!(response.status(), status);
        assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
        assert!(rejection.is_fault());
    }
}

#[test]
fn every_sentence_of_a_challenge_is_a_quoted_string() {
    for reason in Reason::ALL {
        let sentence = reason.sentence();
        let quotable = |c: char| (' '..='~').contains(&c) && c != '"' && c != '\\';
        assert!(sentence.chars().all(quotable), "{sentence}");
    }
}

#[test]
fn a_header_mismatch_is_answered_with_its_json_rpc_code() {
    let rejection = Rejection::HeaderMismatch("x", Some(Id::Number(3)));
    let response = rejection.answer().response(None, "r1");
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            &body["id"],
            &body["error"]["code"]
        ),
        (400, &json!(3), &json!(-32020))
    );
}
