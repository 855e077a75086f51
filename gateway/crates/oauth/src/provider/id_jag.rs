//! Assertions by which a provider connects an app without asking the person: the Identity Assertion
//! JWT Authorization Grant (ID-JAG), in the profile of MCP's enterprise-managed authorization.
//!
//! Owns: which assertions are believed, and who their person is here. Not: what the app gets for one
//! (`token::jwt_bearer`).

use std::time::Duration;

use rand::rngs::OsRng;
use serde_json::{Map, Value};

use super::callback::{end_access_of_left, refusal_detail};
use super::failure::Failure;
use super::id_token::{self, Claims, Expected};
use super::membership::profile as kept_profile;
use super::openid::{ProviderUser, claims_by_name, profile, verify_with_keys};
use super::person;
use super::providers::Providers;
use super::renewal::Memberships;
use super::settings::{IdJagRules, OpenId, Protocol, Provider};
use crate::server::Settings;
use gateway_core::client::{Client, ClientAuthentication};
use gateway_core::clock::Timestamp;
use gateway_core::login_rules::{self, Profile};
use gateway_core::protocol::resource::Issuer;
use gateway_core::protocol::scope::Scope;
use gateway_core::reason::Reason;
use gateway_store::{Records, User};

/// No assertion lives longer.
const LONGEST_LIFE: Duration = Duration::from_secs(300);

/// Longer ids and resources name nothing here.
const LONGEST_TEXT: usize = 2048;

/// An assertion that is believed. It may have been exchanged before.
pub(crate) struct IdJag<'s> {
    pub(crate) provider: &'s Provider,
    pub(crate) rules: &'s IdJagRules,
    pub(crate) claims: IdJagClaims,
    provider_user: ProviderUser,
}

impl Providers {
    /// Whether any provider's word connects apps.
    pub(crate) fn connect_apps(&self) -> bool {
        self.all().iter().any(|provider| provider.id_jag.is_some())
    }
}

/// What an assertion says that an authenticated client presents, once it is believed.
pub(crate) async fn read_id_jag<'s>(
    settings: &Settings,
    providers: &'s Providers,
    client: &Client,
    text: &str,
    now: Timestamp,
) -> Result<IdJag<'s>, Failure> {
    let issuer = id_token::claimed_issuer(text)
        .ok_or_else(|| invalid("it is no JWT, or names no issuer"))?;
    let mut all = providers.all().iter();
    let found = all.find_map(|provider| match &provider.protocol {
        Protocol::OpenId(open_id) if provider.is_of(&issuer) => {
            Some((provider, provider.id_jag.as_ref()?, open_id))
        }
        _ => None,
    });
    let (provider, rules, open_id) =
        found.ok_or_else(|| invalid("its issuer is no provider whose word connects apps"))?;
    // Before anything is asked of the provider.
    may_present(client, rules)?;
    let metadata = providers.metadata(open_id, now).await?;
    let expected = Expected {
        issuer: &metadata.issuer,
        client_id: settings.issuer.as_str(),
        now,
    };
    let verify = |keys: &_| id_token::verify_id_jag(text, keys, expected);
    let claims = verify_with_keys(providers, &metadata, now, verify).await?;
    Ok(IdJag {
        provider,
        rules,
        provider_user: provider_user(open_id, &claims),
        claims: judge(&claims, client, &settings.issuer)?,
    })
}

/// Only apps that the operator named, and only those that prove who they are: whoever finds an
/// assertion must not be able to use it (id-jag §8.1).
fn may_present(client: &Client, rules: &IdJagRules) -> Result<(), Failure> {
    let why = match client.authentication {
        _ if !rules.clients.contains(&client.id) => "it is not in login.id_jag.clients",
        ClientAuthentication::None | ClientAuthentication::NoneOrPrivateKeyJwt { .. } => {
            "it authenticates with nothing"
        }
        _ => return Ok(()),
    };
    Err(Failure::because(Reason::IdJagClientNotAllowed, why))
}

/// What stands in the claims, where they are for this app at this gateway.
pub(crate) struct IdJagClaims {
    /// Where the app wants to act.
    pub(crate) resource: String,
    /// For what; `None`: the provider leaves that to this gateway.
    pub(crate) scope: Option<Scope>,
    id: String,
    issued: Timestamp,
    ends: Timestamp,
}

fn judge(claims: &Claims, client: &Client, issuer: &Issuer) -> Result<IdJagClaims, Failure> {
    let others = &claims.additional_claims().0;
    // The slash is what URL types put behind an origin.
    let is_ours = |audience: &str| audience == issuer.as_str() || audience == issuer.join("/");
    match claims.audiences().as_slice() {
        [audience] if is_ours(audience) => {}
        _ => {
            let said = format!("expected {}, and nobody besides", issuer.as_str());
            return Err(Failure::because(Reason::IdJagAudience, said));
        }
    }
    if others.get("client_id").and_then(Value::as_str) != Some(client.id.as_str()) {
        let said = "its client_id is not the one that the app authenticated with";
        return Err(Failure::because(Reason::IdJagClientMismatch, said));
    }
    let issued = id_token::moment(claims.issue_time());
    let ends = id_token::moment(claims.expiration());
    if ends > issued + LONGEST_LIFE {
        return Err(invalid("it lives longer than five minutes"));
    }
    let scope = match others.get("scope") {
        None => None,
        Some(Value::String(text)) => Some(Scope::parse(text)),
        Some(_) => return Err(invalid("its scope is no text")),
    };
    Ok(IdJagClaims {
        resource: text(others, "resource")?,
        id: text(others, "jti")?,
        scope,
        issued,
        ends,
    })
}

/// A text that has to be there.
fn text(claims: &Map<String, Value>, name: &str) -> Result<String, Failure> {
    let said = match claims.get(name) {
        // A list of one is the same.
        Some(Value::Array(list)) if list.len() == 1 => list.first(),
        said => said,
    };
    let said = said.and_then(Value::as_str);
    let said = said.filter(|text| (1..=LONGEST_TEXT).contains(&text.len()));
    said.map(str::to_owned)
        .ok_or_else(|| invalid(&format!("it has no {name}, or more than one")))
}

fn invalid(said: &str) -> Failure {
    Failure::because(Reason::IdJagInvalid, said)
}

/// What the assertion says of its person. What it leaves out is unsaid, and so is an address of which
/// it does not say whether it is verified.
fn provider_user(open_id: &OpenId, claims: &Claims) -> ProviderUser {
    let subject = claims.subject().as_str();
    let claims_by_name = claims_by_name(claims);
    let has = |name: &str| claims_by_name.contains_key(name);
    let mut profile = profile(open_id, subject, &claims_by_name);
    let groups_claim = open_id.groups_claim.as_deref();
    profile.groups_incomplete |= !groups_claim.is_some_and(has);
    if !has("email") || !(has("email_verified") || has("xms_edov")) {
        profile.address_unsaid = true;
        profile.address = None;
    }
    let handle = claims_by_name.get("preferred_username");
    ProviderUser {
        issuer: claims.issuer().to_string(),
        handle: handle.and_then(Value::as_str).map(str::to_owned),
        refresh: None,
        no_user_info: None,
        profile,
    }
}

impl IdJag<'_> {
    /// The person, made by a first assertion as by a first login; or why the app gets nothing of them.
    /// To do it twice does nothing more.
    pub(crate) async fn person(
        &self,
        memberships: Memberships<'_>,
        client: &Client,
        now: Timestamp,
    ) -> Result<User, Failure> {
        let records = memberships.records;
        let (provider, said) = (self.provider, &self.provider_user);
        let (issuer, subject) = (&said.issuer, &said.profile.subject);
        let known = records.user_of_identity(issuer, subject, now).await?;
        let before = known.as_ref();
        let before = before.and_then(|user| user.identity(issuer, subject));
        // What the provider said later, at a login, stands. Assertions know whole seconds.
        let is_older =
            before.is_some_and(|before| before.confirmed.secs() > self.claims.issued.secs());
        let at = self.claims.issued.min(now);
        let merged = match before.filter(|_| is_older) {
            Some(before) => before.clone(),
            None => person::identity(provider, said, before, at),
        };
        let judged = Profile {
            groups_incomplete: said.profile.groups_incomplete,
            address_unsaid: said.profile.address_unsaid,
            ..kept_profile(&merged)
        };
        if let Err(lacking) = login_rules::judge(&provider.allow, &judged) {
            let detail = refusal_detail(provider, said, &lacking);
            if !is_older && !lacking.iter().any(|(_, missing)| missing.is_unsaid()) {
                end_access_of_left(memberships, provider, &merged, now).await?;
            }
            return Err(Failure::because(Reason::PersonNotAllowed, detail));
        }
        if let Some(user) = &known {
            may_be_given(user, client)?;
        }
        let user = match known.filter(|_| is_older) {
            Some(user) => user,
            None => person::known_or_new(records, provider, said, at, &mut OsRng).await?,
        };
        may_be_given(&user, client)?;
        Ok(user)
    }

    /// Uses it up, on all replicas.
    pub(crate) async fn use_up(&self, records: &Records, now: Timestamp) -> Result<(), Failure> {
        let issuer = &self.provider_user.issuer;
        let first = records.first_id_jag(issuer, &self.claims.id, self.claims.ends, now);
        if first.await? {
            Ok(())
        } else {
            Err(Failure::because(Reason::IdJagReused, ""))
        }
    }
}

/// Whether a provider's word gives this app something of the person.
pub(crate) fn may_be_given(user: &User, client: &Client) -> Result<(), Failure> {
    if user.disabled.is_some() {
        return Err(Failure::because(Reason::UserDisabled, ""));
    }
    if user.withholds(&client.id) {
        Err(Failure::because(Reason::IdJagWithheld, ""))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Flavour;
    use crate::provider::examples::{NOW, open_id};
    use gateway_core::client::{ClientId, Registration};
    use gateway_core::secret::Secret;
    use serde_json::json;

    const HERE: &str = "https://mcp.example.com";

    fn client(id: &str, authentication: ClientAuthentication) -> Client {
        Client {
            id: ClientId::new(id),
            name: None,
            redirect_uris: Vec::new(),
            authentication,
            registration: Registration::PreRegistered,
            registered: NOW,
            may_refresh: true,
            may_ask_from_elsewhere: true,
            echoed: Map::new(),
        }
    }

    fn secret() -> ClientAuthentication {
        ClientAuthentication::ClientSecretPost {
            secret: Secret::presented("s").hash(),
            second: None,
        }
    }

    fn claims(changes: &Value) -> Claims {
        let mut claims = json!({
            "iss": "https://login.example.com", "sub": "s", "aud": HERE, "client_id": "helper",
            "resource": "https://mcp.example.com/mcp", "jti": "j", "iat": 1000, "exp": 1300,
        });
        let all = claims.as_object_mut().unwrap();
        all.extend(changes.as_object().unwrap().clone());
        all.retain(|_, value| !value.is_null());
        serde_json::from_value(claims).unwrap()
    }

    fn judged(changes: &Value) -> Result<IdJagClaims, Reason> {
        let issuer = Issuer::parse(HERE).unwrap();
        let said = judge(&claims(changes), &client("helper", secret()), &issuer);
        said.map_err(|failure| failure.explained().unwrap().0)
    }

    #[test]
    fn an_assertion_is_for_this_gateway_alone_for_this_app_and_for_five_minutes() {
        for fine in [
            json!({}),
            json!({ "aud": [HERE] }),
            json!({ "aud": "https://mcp.example.com/" }),
            json!({ "resource": ["https://mcp.example.com/mcp"] }),
            json!({ "azp": "anybody" }),
        ] {
            assert!(judged(&fine).is_ok(), "{fine}");
        }
        for (changes, reason) in [
            (
                json!({ "aud": "https://mcp.example.com.evil.example" }),
                Reason::IdJagAudience,
            ),
            (
                json!({ "aud": [HERE, "https://evil.example"] }),
                Reason::IdJagAudience,
            ),
            (json!({ "aud": [HERE, HERE] }), Reason::IdJagAudience),
            (
                json!({ "client_id": "Helper" }),
                Reason::IdJagClientMismatch,
            ),
            (
                json!({ "client_id": ["helper"] }),
                Reason::IdJagClientMismatch,
            ),
            (json!({ "exp": 1301 }), Reason::IdJagInvalid),
            (json!({ "jti": "" }), Reason::IdJagInvalid),
            (json!({ "jti": 7 }), Reason::IdJagInvalid),
            (
                json!({ "jti": "j".repeat(LONGEST_TEXT + 1) }),
                Reason::IdJagInvalid,
            ),
            (json!({ "resource": ["a", "b"] }), Reason::IdJagInvalid),
            (json!({ "scope": ["mcp"] }), Reason::IdJagInvalid),
        ] {
            assert_eq!(judged(&changes).err(), Some(reason), "{changes}");
        }
        assert!(judged(&json!({})).unwrap().scope.is_none());
        let scope = judged(&json!({ "scope": "b a" })).unwrap().scope.unwrap();
        assert_eq!(scope.to_string(), "a b");
    }

    #[test]
    fn an_app_that_proves_nothing_or_was_not_named_presents_none() {
        let rules = IdJagRules {
            clients: vec![ClientId::new("helper")],
            scopes: Scope::parse("mcp"),
        };
        assert!(may_present(&client("helper", secret()), &rules).is_ok());
        for refused in [
            client("helper", ClientAuthentication::None),
            client("other", secret()),
        ] {
            assert!(may_present(&refused, &rules).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn an_address_counts_as_said_where_the_assertion_says_whether_it_is_verified() {
        let of = |changes: &Value| {
            let open_id = open_id("https://login.example.com", Flavour::Plain);
            provider_user(&open_id, &claims(changes)).profile
        };
        let nothing = of(&json!({}));
        assert!(nothing.address_unsaid && nothing.groups_incomplete);
        let bare = of(&json!({ "email": "a@example.com" }));
        assert!(bare.address_unsaid && bare.address.is_none());
        for verified in [true, false] {
            let said =
                json!({ "email": "a@example.com", "email_verified": verified, "groups": ["x"] });
            let said = of(&said);
            assert!(!said.address_unsaid && !said.groups_incomplete);
            assert_eq!(said.address.unwrap().verified, verified);
        }
    }
}
