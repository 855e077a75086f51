//! An OpenID provider: what it is asked for, and what it says of a person.

use rand::rngs::OsRng;
use serde_json::{Map, Value};
use url::Url;

use super::exchange::{Exchange, Grant, ProviderClient, Tokens, exchange};
use super::failure::Failure;
use super::id_token::{self, Claims, Expected};
use super::metadata::Metadata;
use super::providers::Providers;
use super::settings::{Flavour, OpenId, Provider};
use super::start::Pass;
use gateway_core::clock::Timestamp;
use gateway_core::login_rules::{MOST_GROUPS, MailAddress, Profile};
use gateway_core::protocol::scope::OFFLINE_ACCESS;
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, TagKey};
use gateway_store::Identity;

/// The provider's login page, without what every provider is sent.
pub(super) fn login_page(open_id: &OpenId, metadata: &Metadata, pass: &Pass) -> Url {
    let mut url = metadata.authorization_endpoint.clone();
    let mut scopes = open_id.scopes.clone();
    if !scopes.iter().any(|scope| scope == "openid") {
        scopes.insert(0, "openid".to_owned());
    }
    url.query_pairs_mut()
        .append_pair("scope", &scopes.join(" "))
        .append_pair("nonce", pass.nonce.reveal());
    // OpenID Connect Core §11: else it is ignored.
    if scopes.iter().any(|scope| scope == OFFLINE_ACCESS) {
        url.query_pairs_mut().append_pair("prompt", "consent");
    }
    url
}

/// Somebody as the provider knows them, and the issuer that says so.
pub(super) struct ProviderUser {
    pub(super) issuer: String,
    pub(super) profile: Profile,
    /// For a name here: what the person is called there.
    pub(super) handle: Option<String>,
    /// The provider's refresh token, encrypted, if it gave one.
    pub(super) refresh: Option<String>,
    /// Why its user info could not be had, if so: the profile may lack something then.
    pub(super) no_user_info: Option<Failure>,
}

/// The person behind a code.
pub(super) async fn fetch_user(
    client: ProviderClient<'_>,
    provider: &Provider,
    open_id: &OpenId,
    metadata: &Metadata,
    code: &str,
    pass: &Pass,
    now: Timestamp,
) -> Result<ProviderUser, Failure> {
    let asking = Asking {
        client,
        provider,
        metadata,
        now,
    };
    let answer = asking.exchange(Grant::Code(code, &pass.verifier)).await?;
    let token = answer.id_token.as_ref().ok_or_else(|| {
        Failure::because(Reason::ProviderAnswerInvalid, "its answer has no id_token")
    })?;
    let id_token = asking.verify(token, Some(pass.nonce.reveal())).await?;
    let is_whole = true;
    asking.read(open_id, id_token, is_whole, answer).await
}

/// What the provider says of a person now, by the refresh token that it gave.
pub(super) async fn refresh_user(
    client: ProviderClient<'_>,
    provider: &Provider,
    open_id: &OpenId,
    identity: &Identity,
    refresh: &Secret,
    now: Timestamp,
) -> Result<ProviderUser, Failure> {
    let metadata = &client.providers.metadata(open_id, now).await?;
    let asking = Asking {
        client,
        provider,
        metadata,
        now,
    };
    let answer = asking.exchange(Grant::Refresh(refresh)).await?;
    // OpenID Connect Core §12.2: there may be no ID token, and one has no nonce of ours to show.
    let (issuer, subject, claims) = match &answer.id_token {
        Some(token) => asking.verify(token, None).await?,
        None => (
            identity.issuer.clone(),
            identity.subject.clone(),
            Map::new(),
        ),
    };
    if !identity.is(&issuer, &subject) {
        let detail = "its answer is about another person";
        return Err(Failure::because(Reason::ProviderAnswerInvalid, detail));
    }
    // What it leaves out, the user info says, or nothing does.
    let is_whole = false;
    let id_token = (issuer, subject, claims);
    let provider_user = asking.read(open_id, id_token, is_whole, answer).await?;
    Ok(ProviderUser {
        // One that is not replaced stays good.
        refresh: provider_user.refresh.or_else(|| identity.refresh.clone()),
        ..provider_user
    })
}

/// The key of a person's refresh token in the store.
pub(super) fn refresh_key(tags: &TagKey) -> TagKey {
    tags.derive("refresh token of a provider")
}

/// What a person's refresh token is bound to there.
pub(super) fn refresh_context(issuer: &str, subject: &str) -> String {
    format!("{} {issuer} {subject}", issuer.len())
}

/// Asks a provider about somebody, and reads what it answers.
struct Asking<'a> {
    client: ProviderClient<'a>,
    provider: &'a Provider,
    metadata: &'a Metadata,
    now: Timestamp,
}

impl Asking<'_> {
    async fn exchange(&self, grant: Grant<'_>) -> Result<Tokens, Failure> {
        let request = Exchange {
            provider: self.provider,
            endpoint: &self.metadata.token_endpoint,
            methods: self.metadata.secret_methods,
            grant,
        };
        exchange(self.client, &request, self.now).await
    }

    /// The issuer, the subject and the claims of an ID token.
    async fn verify(
        &self,
        token: &str,
        nonce: Option<&str>,
    ) -> Result<(String, String, Map<String, Value>), Failure> {
        let expected = Expected {
            issuer: &self.metadata.issuer,
            client_id: &self.provider.client_id,
            now: self.now,
        };
        let verify = |keys: &_| id_token::verify(token, nonce, keys, expected);
        let claims =
            verify_with_keys(self.client.providers, self.metadata, self.now, verify).await?;
        let (issuer, subject) = (claims.issuer().to_string(), claims.subject().to_string());
        Ok((issuer, subject, claims_by_name(&claims)))
    }

    /// Somebody as the provider knows them, by the issuer, the subject and the claims of an ID token, with
    /// what the provider says at its user info. `is_whole`: what neither has is not so, where the user
    /// info was not refused; else it is not said.
    async fn read(
        &self,
        open_id: &OpenId,
        (issuer, subject, mut claims): (String, String, Map<String, Value>),
        is_whole: bool,
        tokens: Tokens,
    ) -> Result<ProviderUser, Failure> {
        let groups_claim = open_id.groups_claim.as_deref();
        let is_missing = |name: &str| !claims.contains_key(name);
        let mut is_whole = is_whole;
        let mut no_user_info = None;
        // Many leave what they say of a person out of the ID token (OpenID Connect Core §5.4).
        if (is_missing("email") || groups_claim.is_some_and(is_missing))
            && let (Some(endpoint), Some(access)) =
                (&self.metadata.userinfo_endpoint, &tokens.access_token)
        {
            let (name, unreadable) = (endpoint.as_str(), "its answer is no person");
            let providers = self.client.providers;
            let asking = providers.read_with_token(endpoint, access, name, unreadable);
            let user_info: Result<Map<String, Value>, Failure> = asking.await;
            match user_info {
                // OpenID Connect Core §5.3.2: else it may be about somebody else.
                Ok(more) if more.get("sub").and_then(Value::as_str) != Some(&subject) => {
                    let detail = format!("{endpoint}: it is about another person");
                    return Err(Failure::because(Reason::ProviderAnswerInvalid, detail));
                }
                Ok(more) => {
                    is_whole = true;
                    for (name, value) in more {
                        claims.entry(name).or_insert(value);
                    }
                }
                Err(failure) => {
                    is_whole = false;
                    no_user_info = Some(failure);
                }
            }
        }
        let mut profile = profile(open_id, &subject, &claims);
        if !is_whole {
            let is_missing = |name: &str| !claims.contains_key(name);
            profile.groups_incomplete |= groups_claim.is_some_and(is_missing);
            profile.address_unsaid = is_missing("email");
        }
        let key = refresh_key(self.client.tags);
        let context = refresh_context(&issuer, &subject);
        let refresh = tokens.refresh_token.map(Secret::presented);
        Ok(ProviderUser {
            refresh: refresh.map(|token| key.encrypt(&token, context.as_bytes(), &mut OsRng)),
            issuer,
            handle: text(&claims, "preferred_username").map(str::to_owned),
            profile,
            no_user_info,
        })
    }
}

/// What a token says, by the provider's keys; by newer ones if the key that signed it is not among
/// those.
pub(super) async fn verify_with_keys(
    providers: &Providers,
    metadata: &Metadata,
    now: Timestamp,
    verify: impl Fn(&id_token::Keys) -> Result<Claims, id_token::TokenRefusal>,
) -> Result<Claims, Failure> {
    let keys = providers.keys(metadata, now).await?;
    let refused = match verify(&keys) {
        Ok(claims) => return Ok(claims),
        Err(refused) => refused,
    };
    let newer = if refused.may_need_newer_keys() {
        providers.newer_keys(metadata, now).await?
    } else {
        None
    };
    let refused = match newer.map(|keys| verify(&keys)) {
        Some(Ok(claims)) => return Ok(claims),
        Some(Err(refused)) => refused,
        None => refused,
    };
    Err(Failure::because(refused.reason, refused.to_string()))
}

/// The claims of an ID token that are looked at, under their names.
pub(super) fn claims_by_name(claims: &Claims) -> Map<String, Value> {
    let mut by_name = claims.additional_claims().0.clone();
    let handle = claims.preferred_username();
    let name = claims.name().and_then(|names| names.get(None));
    let texts = [
        ("email", claims.email().map(|email| email.as_str())),
        ("preferred_username", handle.map(|name| name.as_str())),
        ("name", name.map(|name| name.as_str())),
    ];
    for (name, value) in texts {
        by_name.extend(value.map(|value| (name.to_owned(), Value::from(value))));
    }
    let verified = claims.email_verified();
    by_name.extend(verified.map(|verified| ("email_verified".to_owned(), verified.into())));
    by_name
}

pub(super) fn profile(open_id: &OpenId, subject: &str, claims: &Map<String, Value>) -> Profile {
    let named = open_id.groups_claim.as_deref();
    // Entra names a list that is too long for the token instead of giving it.
    let left_out = named.is_some_and(|claim| {
        let names = claims.get("_claim_names");
        names.is_some_and(|names| names.get(claim).is_some())
    });
    let groups: Vec<&str> = match named.and_then(|claim| claims.get(claim)) {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(one)) => vec![one],
        _ => Vec::new(),
    };
    let called = ["preferred_username", "upn", "name"];
    let called = called.iter().find_map(|name| text(claims, name));
    let kept = groups.iter().take(MOST_GROUPS);
    Profile {
        subject: subject.to_owned(),
        address: address(open_id, claims),
        name: called.map(str::to_owned),
        groups_incomplete: left_out || groups.len() > MOST_GROUPS,
        address_unsaid: false,
        groups: kept.map(|&group| group.to_owned()).collect(),
    }
}

fn address(open_id: &OpenId, claims: &Map<String, Value>) -> Option<MailAddress> {
    let text_of = |name| text(claims, name).map(str::to_ascii_lowercase);
    let address = text_of("email").filter(|address| address.contains('@'))?;
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    let is_so = |name| claims.get(name).is_some_and(is_true);
    let (verified, of_domain) = match open_id.flavour {
        Flavour::Plain => (is_so("email_verified"), true),
        // Whoever left a domain keeps a Google account with its address, without `hd`.
        Flavour::Google => {
            let is_googles = ["gmail.com", "googlemail.com"].contains(&domain);
            let is_hosted = text_of("hd").as_deref() == Some(domain);
            (is_so("email_verified"), is_googles || is_hosted)
        }
        // `email` is whatever the tenant's people wrote, unless the domain's owner is verified.
        Flavour::Entra => (is_so("xms_edov"), true),
    };
    Some(MailAddress {
        verified,
        of_domain,
        text: address,
    })
}

fn text<'v>(claims: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    claims.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// Providers write `true`, `1` or either as a text.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_u64() == Some(1),
        Value::String(text) => text == "1" || text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn person(flavour: Flavour, claims: &Value) -> Profile {
        let open_id = OpenId {
            issuer: "https://login.example.com".into(),
            flavour,
            scopes: Vec::new(),
            groups_claim: Some("groups".into()),
        };
        profile(&open_id, "s", claims.as_object().unwrap())
    }

    fn address(flavour: Flavour, claims: &Value) -> (bool, bool) {
        let address = person(flavour, claims).address.unwrap();
        assert_eq!(address.text, "a@example.com");
        (address.verified, address.of_domain)
    }

    #[test]
    fn an_address_is_as_good_as_the_provider_is_about_it() {
        let plain = |verified: Value| {
            let claims = json!({ "email": "A@Example.com", "email_verified": verified });
            address(Flavour::Plain, &claims)
        };
        assert_eq!(plain(json!(true)), (true, true));
        assert_eq!(plain(json!("true")), (true, true));
        for no in [json!(false), json!("false"), json!(null), json!([])] {
            assert_eq!(plain(no), (false, true));
        }
        let google = |hosted: Value| {
            let claims = json!({ "email": "a@example.com", "email_verified": true, "hd": hosted });
            address(Flavour::Google, &claims)
        };
        assert_eq!(google(json!("example.com")), (true, true));
        assert_eq!(google(json!("other.org")), (true, false));
        assert_eq!(google(json!(null)), (true, false));
        let entra = |claim: &str, value: Value| {
            let claims = json!({ "email": "a@example.com", claim: value });
            address(Flavour::Entra, &claims)
        };
        assert_eq!(entra("xms_edov", json!(true)), (true, true));
        assert_eq!(entra("xms_edov", json!("1")), (true, true));
        assert_eq!(entra("xms_edov", json!(0)), (false, true));
        assert_eq!(entra("email_verified", json!(true)), (false, true));
    }

    #[test]
    fn groups_that_were_left_out_or_are_too_many_are_known_to_be_incomplete() {
        let groups = |claims: &Value| {
            let profile = person(Flavour::Entra, claims);
            (profile.groups.len(), profile.groups_incomplete)
        };
        assert_eq!(groups(&json!({ "groups": ["a", "b", "a"] })), (2, false));
        assert_eq!(groups(&json!({ "groups": "a" })), (1, false));
        assert_eq!(groups(&json!({ "groups": { "a": 1 } })), (0, false));
        let left_out = json!({ "_claim_names": { "groups": "src1" } });
        assert_eq!(groups(&left_out), (0, true));
        let many: Vec<String> = (0..10_001).map(|number| number.to_string()).collect();
        assert_eq!(groups(&json!({ "groups": many })), (10_000, true));
    }
}
