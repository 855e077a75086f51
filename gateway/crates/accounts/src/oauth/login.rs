//! A person's way to the backend's authorization server and back (RFC 6749 §4.1 with PKCE, RFC 9207).

use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::accounts::{AccountBackend, Accounts, Person};
use crate::changes::{Connected, to_its_end};
use crate::contents::{Contents, OAuthContents, open, seal};
use crate::oauth::client::Client;
use crate::oauth::failure::Failure;
use crate::oauth::server::Server;
use gateway_core::account::seal::Bound;
use gateway_core::account::settings::{AccountKind, OAuthAccount};
use gateway_core::grants::UserId;
use gateway_core::protocol::form::Form;
use gateway_core::reason::Reason;
use gateway_core::secret::{Secret, SecretHash};
use gateway_store::{AccountLogin, KeptGoal, SingleUse};

/// What has to be known to go on when the browser comes back.
#[derive(Serialize, Deserialize)]
struct Pending {
    verifier: String,
    server: Server,
    client: Client,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<String>,
    scopes: Vec<String>,
}

/// Whose way it is.
#[derive(Clone, Copy, Debug)]
pub struct Traveller<'a> {
    /// The person.
    pub person: Person<'a>,
    /// Of the cookie that names the browser.
    pub browser: &'a SecretHash,
}

/// What the browser brings along from an authorization server or an identity provider. Not to be printed:
/// it holds a code.
pub struct Returned {
    /// What it was sent away with.
    pub state: Secret,
    /// Who says that the answer is theirs (RFC 9207).
    pub issuer: Option<String>,
    /// The code, or what was said instead.
    pub outcome: Result<String, String>,
}

impl Returned {
    /// As the query says it of the address that the browser came back to. `who` has sent it, in words.
    /// `None` without a state.
    pub fn read(query: &str, who: &str) -> Option<Self> {
        let form = Form::parse(query.as_bytes()).ok()?;
        let one = |name| form.one(name).ok().flatten();
        let outcome = match (one("code"), one("error")) {
            (Some(code), None) => Ok(code.to_owned()),
            (_, Some(error)) => {
                let described = one("error_description").unwrap_or_default();
                Err(format!("{who} said: {error}\n{described}"))
            }
            (None, None) => Err(format!("{who} sent neither a code nor an error")),
        };
        Some(Self {
            state: Secret::presented(one("state")?),
            issuer: one("iss").map(str::to_owned),
            outcome,
        })
    }
}

/// Why a person came back without an account, and where they were going, if that is known.
#[derive(Debug)]
pub struct Unfinished {
    /// Why.
    pub failure: Failure,
    /// The backend and where it was to lead; unknown for a state that is none of ours.
    pub begun: Option<(String, KeptGoal)>,
}

impl Unfinished {
    fn unknown(why: &str) -> Self {
        Failure::because(Reason::AccountStateUnknown, why).into()
    }
}

/// Where it was to lead is not known then.
impl<E: Into<Failure>> From<E> for Unfinished {
    fn from(failure: E) -> Self {
        Self {
            failure: failure.into(),
            begun: None,
        }
    }
}

impl Accounts {
    /// Where the browser goes for a person to allow the gateway to use their account.
    ///
    /// # Errors
    ///
    /// The server could not be found, or does not know the gateway.
    pub async fn begin(
        &self,
        backend: &str,
        who: Traveller<'_>,
        goal: KeptGoal,
    ) -> Result<Url, Failure> {
        let (of, settings) = self.oauth(backend)?;
        let found = self.discover(of, settings).await?;
        let client = self.client(of, settings, &found.server).await?;
        let endpoint = found.server.authorization_endpoint.as_deref();
        let endpoint = endpoint.and_then(|endpoint| Url::parse(endpoint).ok());
        let mut url = endpoint.ok_or_else(|| {
            let name = found.server.name();
            Failure::unusable(format!("{name} has no authorization_endpoint"))
        })?;
        let (state, verifier) = (Secret::draw(&mut OsRng), Secret::draw(&mut OsRng));
        let wanted = self
            .wanted_scopes(backend, who.person.id, &found.scopes)
            .await?;
        let redirect_uri = self.callback(backend);
        let scope = wanted.join(" ");
        // S256 of the verifier: what a hash of a secret is here.
        let challenge = verifier.hash();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", &redirect_uri)
            .append_pair("state", state.reveal())
            .append_pair("code_challenge", challenge.as_str())
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(found.wanted(&scope, settings));
        let pending = Pending {
            verifier: verifier.reveal().to_owned(),
            server: found.server,
            client,
            resource: found.resource,
            scopes: wanted,
        };
        let origin = of.backend.origin();
        let bound = login_bound(who.person.id, backend, &origin);
        let login = AccountLogin {
            user: who.person.id.clone(),
            backend: backend.to_owned(),
            browser: who.browser.clone(),
            goal,
            sealed: seal(&pending, &self.keys, bound, &mut OsRng),
        };
        let now = self.now();
        self.records
            .begin_account_login(&state.hash(), &login, now)
            .await?;
        Ok(url)
    }

    /// The browser has come back to the page of this backend: the account is the person's now. Also where it
    /// leads. It is done to its end, also if the browser goes away: what the server gives is given once.
    ///
    /// # Errors
    ///
    /// Why it is not, and where it would have led.
    pub async fn finish(
        &self,
        backend: &str,
        returned: Returned,
        who: Traveller<'_>,
    ) -> Result<(Connected, KeptGoal), Unfinished> {
        let Some(me) = self.me() else {
            return Err(Unfinished::unknown(""));
        };
        let backend = backend.to_owned();
        let (id, name) = (who.person.id.clone(), who.person.name.to_owned());
        let browser = who.browser.clone();
        let finishing = tokio::spawn(async move {
            let person = Person {
                id: &id,
                name: &name,
            };
            let browser = &browser;
            let who = Traveller { person, browser };
            me.finish_here(&backend, &returned, who).await
        });
        to_its_end(finishing).await?
    }

    async fn finish_here(
        &self,
        backend: &str,
        returned: &Returned,
        who: Traveller<'_>,
    ) -> Result<(Connected, KeptGoal), Unfinished> {
        let state = returned.state.hash();
        let taken = self.records.take_account_login(&state, self.now());
        let login = match taken.await? {
            SingleUse::Fresh(login) => login,
            SingleUse::Again => return Err(Unfinished::unknown("it was used before")),
            SingleUse::Unknown => return Err(Unfinished::unknown("")),
        };
        // Else the code of one server would be shown to another, which made the browser ask for it.
        if login.backend != backend {
            return Err(Unfinished::unknown("it was begun for another backend"));
        }
        // Else somebody could connect their own account to another person's name, or the reverse.
        if login.browser != *who.browser {
            return Err(Unfinished::unknown("it was begun in another browser"));
        }
        if login.user != *who.person.id {
            return Err(Unfinished::unknown("it was begun by somebody else"));
        }
        match self.exchange(returned, who.person, &login).await {
            Ok(connected) => Ok((connected, login.goal)),
            Err(failure) => Err(Unfinished {
                failure,
                begun: Some((login.backend, login.goal)),
            }),
        }
    }

    async fn exchange(
        &self,
        returned: &Returned,
        person: Person<'_>,
        login: &AccountLogin,
    ) -> Result<Connected, Failure> {
        let (of, _) = self.oauth(&login.backend)?;
        let origin = of.backend.origin();
        let bound = login_bound(person.id, &login.backend, &origin);
        let pending: Option<Pending> = open(&login.sealed, &self.keys, bound);
        let pending = pending.ok_or_else(|| Failure::because(Reason::AccountStateUnknown, ""))?;
        check_issuer(&pending.server, returned.issuer.as_deref())?;
        let refused = |said: &String| Failure::because(Reason::AccountRefused, said);
        let code = returned.outcome.as_ref().map_err(refused)?;
        let callback = self.callback(of.name());
        let mut parameters = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", callback.as_str()),
            ("code_verifier", pending.verifier.as_str()),
        ];
        if let Some(resource) = &pending.resource {
            parameters.push(("resource", resource));
        }
        let (server, client) = (&pending.server, &pending.client);
        let asked = self.ask_for_tokens(of, server, client, &parameters).await;
        if let Err(Failure::ClientGone(_)) = &asked {
            self.forget_client(of, server, client).await?;
        }
        let tokens = asked?;
        let contents = Contents {
            credential: tokens.access.to_string(),
            oauth: Some(OAuthContents {
                refresh: tokens.refresh.as_ref().map(|token| token.to_string()),
                server: pending.server,
                client: pending.client,
                resource: pending.resource,
            }),
        };
        // A server that says nothing of scopes gave what was asked for (RFC 6749 §5.1).
        let scopes = tokens.scopes.clone().unwrap_or(pending.scopes);
        let connected = self.connect_with(of, person, &contents, Some(&tokens), scopes);
        Ok(connected.await?)
    }

    pub(crate) fn oauth(&self, backend: &str) -> Result<(&AccountBackend, &OAuthAccount), Failure> {
        let of = self.of(backend);
        let settings = of.and_then(|of| match &of.settings.kind {
            AccountKind::OAuth(settings) => Some((of, &**settings)),
            AccountKind::Key { .. } | AccountKind::Exchange(_) => None,
        });
        settings.ok_or_else(|| {
            let detail = "no such backend is here any more";
            Failure::because(Reason::AccountStateUnknown, detail)
        })
    }

    /// The scopes to ask for: those that were found, and what the backend has asked for of this person's
    /// account since.
    async fn wanted_scopes(
        &self,
        backend: &str,
        user: &UserId,
        found: &[String],
    ) -> Result<Vec<String>, Failure> {
        let mut wanted = found.to_vec();
        let kept = self.records.account(user, backend, self.now()).await?;
        let more = kept.map(|kept| kept.account.wanted).unwrap_or_default();
        for scope in more {
            if !wanted.contains(&scope) {
                wanted.push(scope);
            }
        }
        Ok(wanted)
    }
}

/// Before anything else is made of the answer (RFC 9207 §2.4).
fn check_issuer(server: &Server, said: Option<&str>) -> Result<(), Failure> {
    let is_its = match (said, &server.issuer) {
        (Some(said), Some(issuer)) => said == issuer,
        (None, _) => !server.names_itself,
        // Nothing is known that it could be compared with.
        (Some(_), None) => true,
    };
    if is_its {
        return Ok(());
    }
    let expected = server.name();
    let said = said.unwrap_or("no issuer");
    let detail = format!("expected: {expected}\nfound: {said}");
    Err(Failure::because(Reason::AccountIssuerMismatch, detail))
}

fn login_bound<'a>(user: &'a UserId, backend: &'a str, origin: &'a str) -> Bound<'a> {
    Bound {
        user: user.as_str(),
        backend,
        origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(issuer: Option<&str>, names_itself: bool) -> Server {
        Server {
            issuer: issuer.map(str::to_owned),
            authorization_endpoint: None,
            token_endpoint: "https://as.example/token".to_owned(),
            revocation_endpoint: None,
            registration_endpoint: None,
            names_itself,
            takes_documents: false,
            methods: None,
            knows_offline: false,
        }
    }

    #[test]
    fn an_answer_is_taken_from_the_server_that_was_asked_alone() {
        let ours = Some("https://as.example");
        let is_taken = |server: &Server, said| check_issuer(server, said).is_ok();
        assert!(is_taken(&server(ours, true), ours));
        assert!(is_taken(&server(ours, false), ours));
        assert!(is_taken(&server(ours, false), None));
        assert!(!is_taken(&server(ours, true), None));
        for said in ["https://as.example/", "https://evil.example", ""] {
            assert!(!is_taken(&server(ours, true), Some(said)), "{said}");
            assert!(!is_taken(&server(ours, false), Some(said)), "{said}");
        }
    }
}
