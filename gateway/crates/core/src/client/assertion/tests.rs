//! Assertions, claim by claim, and thousands of spoiled ones.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::*;

const CLIENT: &str = "https://app.example.com/client.json";
const ISSUER: &str = "https://mcp.example.com";
const TOKEN_ENDPOINT: &str = "https://mcp.example.com/token";
const NOW: u64 = 1_000_000;

/// A key pair of the test's own.
struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        Self { pair, random }
    }

    fn keys(&self) -> KeySet {
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
        let key = json!({ "kty": "EC", "kid": "1", "crv": "P-256", "x": x, "y": y });
        KeySet::parse(&json!({ "keys": [key] })).unwrap()
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let signed = format!("{header}.{claims}");
        let signature = self.pair.sign(&self.random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn claims() -> Value {
    json!({
        "iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "jti": "a", "exp": NOW + 60, "iat": NOW,
    })
}

const HEADER: &str = r#"{"alg":"ES256","kid":"1","typ":"JWT"}"#;

fn judged(
    signer: &Signer,
    header: &str,
    claims: &str,
) -> Result<VerifiedAssertion, AssertionError> {
    let audiences = [ISSUER, TOKEN_ENDPOINT].map(str::to_owned);
    let now = Timestamp::from_secs(NOW);
    Assertion::parse(&signer.sign(header, claims))?.verify(
        &ClientId::new(CLIENT),
        &signer.keys(),
        &audiences,
        now,
    )
}

fn with_claim(name: &str, value: Value) -> Result<VerifiedAssertion, AssertionError> {
    let mut claims = claims();
    claims[name] = value;
    judged(&Signer::new(), HEADER, &claims.to_string())
}

#[test]
fn an_assertion_of_the_client_to_this_server_is_believed() {
    let believed = judged(&Signer::new(), HEADER, &claims().to_string()).unwrap();
    assert!(believed.until > Timestamp::from_secs(NOW + 60) + LEEWAY);
    for good in [
        ("aud", json!(TOKEN_ENDPOINT)),
        ("aud", json!([ISSUER])),
        ("exp", json!(NOW as f64 + 59.5)),
        ("exp", json!(NOW - 59)),
        ("exp", json!(NOW + 3600)),
        ("iat", json!(NOW + 59)),
        ("iat", json!(NOW - 3600)),
        ("iat", json!(null)),
        ("nbf", json!(NOW - 100_000)),
        ("nbf", json!(NOW + 59)),
        ("more", json!({ "a": [1] })),
    ] {
        assert!(with_claim(good.0, good.1.clone()).is_ok(), "{good:?}");
    }
}

#[test]
fn every_claim_is_held_to_what_it_says() {
    use AssertionError::{Audience, Client, Expired, Id, Malformed, NotNear, NotYet};
    for (name, value, error) in [
        ("iss", json!("https://other.example/c"), Client),
        ("sub", json!("https://other.example/c"), Client),
        ("iss", json!(7), Malformed),
        ("aud", json!("https://other.example"), Audience),
        (
            "aud",
            json!("https://mcp.example.com.evil.example"),
            Audience,
        ),
        ("aud", json!([ISSUER, TOKEN_ENDPOINT]), Audience),
        ("aud", json!([ISSUER, "https://other.example"]), Audience),
        ("aud", json!([]), Audience),
        ("aud", json!([[ISSUER]]), Malformed),
        ("aud", json!(null), Malformed),
        ("exp", json!(NOW - 60), Expired),
        ("exp", json!(0), Expired),
        ("exp", json!(NOW + 3661), NotNear),
        ("exp", json!(1e300), Malformed),
        ("exp", json!(-1), Malformed),
        ("exp", json!("1000060"), Malformed),
        ("exp", json!(null), Malformed),
        ("iat", json!(NOW + 61), NotYet),
        ("iat", json!(NOW - 3661), NotNear),
        ("iat", json!("x"), Malformed),
        ("nbf", json!(NOW + 61), NotYet),
        ("jti", json!(""), Id),
        ("jti", json!("j".repeat(513)), Id),
        ("jti", json!(1), Malformed),
    ] {
        assert_eq!(
            with_claim(name, value.clone()),
            Err(error),
            "{name} {value}"
        );
    }
    for missing in ["iss", "sub", "aud", "exp", "jti"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(missing);
        let judged = judged(&Signer::new(), HEADER, &claims.to_string());
        assert_eq!(judged, Err(Malformed), "{missing}");
    }
}

#[test]
fn no_algorithm_but_the_served_ones_and_no_extension_is_taken() {
    use AssertionError::{Algorithm, Critical, Malformed, Type, UnknownKey};
    let signer = Signer::new();
    let claims = claims().to_string();
    for (header, error) in [
        (r#"{"alg":"none"}"#, Algorithm),
        (r#"{"alg":"None"}"#, Algorithm),
        (r#"{"alg":""}"#, Algorithm),
        (r#"{"alg":"HS256"}"#, Algorithm),
        (r#"{"alg":"es256"}"#, Algorithm),
        (r#"{"alg":"ES256K"}"#, Algorithm),
        (r#"{"alg":"ES256 "}"#, Algorithm),
        // The only key is of the other type.
        (r#"{"alg":"RS256"}"#, UnknownKey),
        (r#"{"alg":"RS256","kid":"1"}"#, UnknownKey),
        (r#"{"alg":"ES256","kid":"2"}"#, UnknownKey),
        (r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, Critical),
        (r#"{"alg":"ES256","crit":[]}"#, Critical),
        (r#"{"alg":"ES256","crit":null}"#, Critical),
        (r#"{"alg":"ES256","typ":"at+jwt"}"#, Type),
        (r#"{"alg":"ES256","typ":"dpop+jwt"}"#, Type),
        (r#"{"alg":"ES256","alg":"none"}"#, Malformed),
        (r#"{"kid":"1"}"#, Malformed),
        (r#"["ES256","1","JWT",null]"#, Malformed),
        ("", Malformed),
    ] {
        assert_eq!(judged(&signer, header, &claims), Err(error), "{header}");
    }
    for good in [
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":null,"typ":"application/jwt"}"#,
        r#"{"alg":"ES256","typ":"client-authentication+jwt"}"#,
        // A key that comes along is no key of the client's.
        r#"{"alg":"ES256","jku":"https://evil.example/","jwk":{"kty":"oct","k":"AQ"}}"#,
    ] {
        assert!(judged(&signer, good, &claims).is_ok(), "{good}");
    }
}

#[test]
fn a_claim_that_stands_twice_is_refused() {
    let twice = claims()
        .to_string()
        .replacen('{', r#"{"aud":"https://other.example","#, 1);
    let judged = judged(&Signer::new(), HEADER, &twice);
    assert_eq!(judged, Err(AssertionError::Malformed));
}

#[test]
fn another_key_signs_in_vain() {
    let (own, other) = (Signer::new(), Signer::new());
    let assertion = Assertion::parse(&other.sign(HEADER, &claims().to_string())).unwrap();
    let now = Timestamp::from_secs(NOW);
    let verified = assertion.verify(
        &ClientId::new(CLIENT),
        &own.keys(),
        &[ISSUER.to_owned()],
        now,
    );
    assert_eq!(verified, Err(AssertionError::Signature));
    assert!(!assertion.may_need_newer_keys(AssertionError::Signature));
    assert!(assertion.may_need_newer_keys(AssertionError::UnknownKey));
}

#[test]
fn an_id_is_the_clients_own() {
    let name = |client: &str, id: &str| once(&ClientId::new(client), id);
    assert_eq!(name("a", "b"), name("a", "b"));
    assert_ne!(name("a", "b"), name("b", "a"));
    assert_ne!(name("ab", "c"), name("a", "bc"));
}

/// Whatever is done to the text of an assertion: no panic, and never believed.
#[test]
fn ten_thousand_spoiled_assertions_are_refused_and_none_breaks_the_reader() {
    let signer = Signer::new();
    let good = signer.sign(HEADER, &claims().to_string());
    let (keys, client) = (signer.keys(), ClientId::new(CLIENT));
    let audiences = [ISSUER.to_owned()];
    let now = Timestamp::from_secs(NOW);
    let believed = |text: &str| {
        Assertion::parse(text)
            .is_ok_and(|assertion| assertion.verify(&client, &keys, &audiences, now).is_ok())
    };
    assert!(believed(&good));
    let mut random = StdRng::seed_from_u64(7523);
    for _ in 0..10_000 {
        let spoiled = spoil(&good, &mut random);
        // The last character of the signature has two bits that decoders ignore or refuse.
        let same = spoiled == good;
        assert!(same || !believed(&spoiled), "{spoiled}");
    }
}

fn spoil(good: &str, random: &mut StdRng) -> String {
    const ODD: [&str; 12] = [
        "",
        ".",
        "..",
        "=",
        "{}",
        "e30",
        "\u{0}",
        "é",
        " ",
        "\n",
        "eyJhbGciOiJub25lIn0",
        "bnVsbA",
    ];
    let mut text = good.to_owned();
    for _ in 0..random.gen_range(1..4) {
        let at = random.gen_range(0..=text.len());
        let at = (0..=at)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        match random.gen_range(0..5) {
            0 => text.truncate(at),
            1 => text.insert_str(at, ODD.choose(random).unwrap()),
            2 => text = text[at..].to_owned() + &text[..at],
            3 => {
                let mut parts: Vec<_> = text.split('.').map(str::to_owned).collect();
                let part = random.gen_range(0..parts.len());
                parts[part] = (*ODD.choose(random).unwrap()).to_owned();
                text = parts.join(".");
            }
            _ => {
                let letter = char::from(random.gen_range(b'!'..=b'~'));
                let end = (at + 1..=text.len()).find(|end| text.is_char_boundary(*end));
                if let Some(end) = end {
                    text.replace_range(at..end, &letter.to_string());
                }
            }
        }
    }
    text
}

/// JSON of every shape where header and claims belong, signed by the client's own key.
#[test]
fn claims_of_any_shape_are_refused_without_a_panic() {
    let signer = Signer::new();
    let mut random = StdRng::seed_from_u64(7519);
    for _ in 0..2_000 {
        let mut claims = claims();
        let names = ["iss", "sub", "aud", "exp", "jti"];
        let name = names.choose(&mut random).unwrap();
        let value = shape(&mut random, 3);
        let harmless = claims[*name] == value;
        claims[*name] = value;
        // An id may be any text.
        let harmless = harmless || (*name == "jti" && claims["jti"].is_string());
        let judged = judged(&signer, HEADER, &claims.to_string());
        assert!(harmless || judged.is_err(), "{claims}");
        let _ = Assertion::parse(&signer.sign(&shape(&mut random, 3).to_string(), "{}"));
    }
}

fn shape(random: &mut StdRng, depth: u8) -> Value {
    match random.gen_range(0..if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(random.r#gen::<bool>()),
        2 => json!(random.r#gen::<i64>()),
        3 => json!(random.r#gen::<f64>() * 1e300),
        4 => json!("alg"),
        5 => json!(String::from_utf8_lossy(&random.r#gen::<[u8; 8]>())),
        6 => (0..random.gen_range(0..4))
            .map(|_| shape(random, depth - 1))
            .collect(),
        _ => json!({ "alg": shape(random, depth - 1), "crit": shape(random, depth - 1) }),
    }
}
