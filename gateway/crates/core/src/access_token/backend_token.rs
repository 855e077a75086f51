//! The token for a backend: says who calls, is good for that backend alone and for minutes, and is
//! sealed. It is minted anew rather than made from the client's: nothing that the client could use
//! leaves the gateway, and the gateway itself takes it for no access token, because it names no
//! resource.

use std::time::Duration;

use biscuit_auth::builder::{Term, string};
use biscuit_auth::{Biscuit, error};

use super::facts::{fact, moment};
use super::keys::Keys;
use super::verified_token::VerifiedToken;
use crate::clock::Timestamp;

/// How long it counts, at most.
const LIFETIME: Duration = Duration::from_secs(300);

/// One with less than this left is not handed out again.
const LEFT: Duration = Duration::from_secs(150);

/// A token that the gateway mints for one backend, which tells it on whose behalf a request comes.
#[derive(Clone)]
pub struct BackendToken {
    text: String,
    ends: Timestamp,
    key_id: u32,
}

/// Never the text.
impl std::fmt::Debug for BackendToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendToken")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl BackendToken {
    /// The text for the header. Never log it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has to be minted anew, `token` being what it stands for: it is nearly over, or another key
    /// signs by now.
    pub fn is_stale(&self, token: &VerifiedToken, keys: &Keys, now: Timestamp) -> bool {
        keys.active_id() != Some(self.key_id) || now + LEFT > self.ends && token.ends() > self.ends
    }
}

/// Mints the token that tells the backend of this name who calls.
///
/// It says `audience` (the backend), `user`, `user_name`, `client`, `grant`, each `scope`, `issued`
/// and `expires`, and checks `backend` and `time`. An access token has no `audience`: whoever asks
/// for it takes none for this.
pub fn mint_backend_token(
    token: &VerifiedToken,
    backend: &str,
    keys: &Keys,
    now: Timestamp,
) -> Result<BackendToken, error::Token> {
    let (key_id, key) = keys.signing()?;
    let claims = token.claims();
    // Whole seconds, as Datalog has them.
    let ends = Timestamp::from_secs((now + LIFETIME).min(token.ends()).secs());
    let mut builder = Biscuit::builder()
        .root_key_id(key_id)
        .fact(fact("audience", backend))?
        .fact(fact("user", claims.user.as_str()))?
        .fact(fact("user_name", &claims.user_name))?
        .fact(fact("client", claims.client.as_str()))?
        .fact(fact("grant", claims.grant.as_str()))?
        .fact(moment("issued", now))?
        .fact(moment("expires", ends))?;
    for scope in claims.scope.iter() {
        builder = builder.fact(fact("scope", scope))?;
    }
    let parameters = [
        ("backend".to_owned(), string(backend)),
        ("end".to_owned(), Term::Date(ends.secs())),
    ];
    let text = builder
        .code_with_params(
            "check if backend({backend}); check if time($t), $t < {end};",
            parameters.into(),
            Default::default(),
        )?
        .build(key)?
        .seal()?
        .to_base64()?;
    Ok(BackendToken { text, ends, key_id })
}

#[cfg(test)]
mod tests {
    use biscuit_auth::builder::Fact;
    use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits};

    use super::super::attenuation::tests::Issuer;
    use super::*;
    use crate::access_token::{TokenError, Tools, verify};
    use crate::protocol::bearer::BearerToken;

    const NOW: Timestamp = Timestamp::from_secs(10_000);

    fn taken(token: &Biscuit, backend: &str, now: Timestamp) -> bool {
        let fact = |name: &str, term| Fact::new(name.to_owned(), vec![term]);
        AuthorizerBuilder::new()
            .set_limits(AuthorizerLimits {
                max_time: Duration::from_secs(10),
                ..AuthorizerLimits::default()
            })
            .fact(fact("backend", string(backend)))
            .unwrap()
            .fact(fact("time", Term::Date(now.secs())))
            .unwrap()
            .code("allow if audience(\"notes\"), user(\"u_1\"), client(\"c_1\"), grant(\"g_1\");")
            .unwrap()
            .build(token)
            .unwrap()
            .authorize()
            .is_ok()
    }

    #[test]
    fn it_is_good_for_one_backend_for_minutes_and_for_nothing_here() {
        let issuer = Issuer::new();
        let token = issuer.verify(&issuer.token(Tools::All)).unwrap();
        let backend_token = mint_backend_token(&token, "notes", &issuer.keys, NOW).unwrap();
        let biscuit = Biscuit::from_base64(
            backend_token.as_str(),
            issuer.keys.signing().unwrap().1.public(),
        )
        .unwrap();
        let end = NOW + LIFETIME;
        assert!(taken(&biscuit, "notes", NOW));
        assert!(taken(&biscuit, "notes", end - Duration::from_secs(1)));
        assert!(!taken(&biscuit, "notes", end));
        assert!(!taken(&biscuit, "files", NOW));
        assert!(biscuit.append(Default::default()).is_err());
        assert!(!taken(&issuer.token(Tools::All), "notes", NOW));
        let bearer = BearerToken::parse_token(backend_token.as_str()).unwrap();
        assert_eq!(verify(&bearer, &issuer.keys), Err(TokenError::Malformed));
    }

    #[test]
    fn it_is_minted_anew_before_it_ends_and_never_outlives_what_it_stands_for() {
        let issuer = Issuer::new();
        let token = issuer.verify(&issuer.token(Tools::All)).unwrap();
        let backend_token = mint_backend_token(&token, "notes", &issuer.keys, NOW).unwrap();
        assert!(!backend_token.is_stale(&token, &issuer.keys, NOW + Duration::from_secs(150)));
        assert!(backend_token.is_stale(&token, &issuer.keys, NOW + Duration::from_secs(151)));
        let nearly_over = token.ends() - Duration::from_secs(10);
        let last = mint_backend_token(&token, "notes", &issuer.keys, nearly_over).unwrap();
        assert!(last.ends <= token.ends());
    }
}
