//! The authorization request (OAuth 2.1 §4.1.1): its checks, in order, on one page; and the answer
//! to it (§4.1.2).
//!
//! Owns: what is valid, and what a redirect to a client says. Not: who the person is, what that
//! person answers (`login`, `consent`), what is stored (`authorize`).

use url::form_urlencoded;

use crate::client_authentication::{invalid, malformed};
use crate::clients::NotFound;
use crate::error_response::loggable;
use gateway_core::client::{Client, ClientId, Registration};
use gateway_core::policy::{ScopeTable, Scopes};
use gateway_core::protocol::form::Form;
use gateway_core::protocol::oauth::{ErrorCode, OAuthError};
use gateway_core::protocol::pkce::{CodeChallenge, S256};
use gateway_core::protocol::redirect_uri::{PrivateUseSchemes, RedirectUri, RedirectUriError};
use gateway_core::protocol::resource::{Issuer, Mount, Resource, default_mount, requested_mount};
use gateway_core::protocol::scope::Scope;
use gateway_core::protocol::web::{self, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::Secret;
use gateway_store::{KeptDevice, StoreError};

/// Why a request gets no consent page, and where that can be said.
#[derive(Clone, Debug)]
pub enum AuthorizeRefusal {
    /// On a page, to the person: nobody has been found to redirect to. The text names the value
    /// that was wrong; it may hold what a stranger sent.
    Page(Reason, String),
    /// To the client, once the person has logged in (OAuth 2.1 §7.13.2).
    Redirect(Box<Callback>, OAuthError),
    /// To `/device`: whoever sits at this browser has not typed the code of the app.
    TypeCode,
    /// The store did not do what was asked.
    Fault(StoreError),
    /// Who the client is can't be found out at the moment.
    NotNow(Reason),
}

impl From<NotFound> for AuthorizeRefusal {
    fn from(error: NotFound) -> Self {
        match error {
            NotFound::Unknown(reason, detail) => Self::Page(reason, loggable(&detail)),
            NotFound::Fault(error) => Self::Fault(error),
            NotFound::NotNow(reason, _) => Self::NotNow(reason),
        }
    }
}

/// Where it is safe to redirect: made only after client and redirect URI were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    client: ClientId,
    redirect_uri: RedirectUri,
    state: Option<String>,
    issuer: Issuer,
}

impl Callback {
    /// Whose it is.
    pub const fn client(&self) -> &ClientId {
        &self.client
    }

    /// The redirect URI of the request.
    pub const fn redirect_uri(&self) -> &RedirectUri {
        &self.redirect_uri
    }

    /// 303 to the client with a code.
    pub fn granted(&self, code: &Secret) -> Response {
        self.redirect(&[("code", code.reveal())])
    }

    /// 303 to the client: the person pressed Deny.
    pub fn denied(&self) -> Response {
        self.refused(&OAuthError::new(
            ErrorCode::AccessDenied,
            Reason::UserDenied,
        ))
    }

    /// 303 to the client with an error (OAuth 2.1 §4.1.2.1).
    pub fn refused(&self, error: &OAuthError) -> Response {
        self.redirect(&[
            ("error", error.code.as_str()),
            ("error_description", &error.description),
        ])
    }

    /// Every answer carries `state` as it came and `iss` (RFC 9207), and keeps the query that the
    /// client registered.
    fn redirect(&self, parameters: &[(&str, &str)]) -> Response {
        let mut location = self.redirect_uri.as_str().to_owned();
        if !location.contains('?') {
            location.push('?');
        } else if !location.ends_with(['?', '&']) {
            location.push('&');
        }
        let end = location.len();
        let mut query = form_urlencoded::Serializer::for_suffix(location, end);
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", self.issuer.as_str());
        web::see_other(&query.finish())
    }
}

/// How an app asks, which decides where the answer goes.
#[derive(Clone, Debug)]
pub enum AuthorizationFlow {
    /// It sent the browser here, which goes back to it with a code for whoever made this challenge.
    Browser(Callback, CodeChallenge),
    /// From another machine (RFC 8628): it comes for the answer itself.
    Device(Box<KeptDevice>),
}

/// A valid request: what a person may be asked to allow.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest {
    client: Client,
    flow: AuthorizationFlow,
    mount: Mount,
    resource: Resource,
    scope: Scope,
    raw_query: String,
}

impl AuthorizationRequest {
    /// A request whose parts were judged.
    pub(crate) fn new(
        client: Client,
        mount: Mount,
        resource: Resource,
        scope: Scope,
        flow: AuthorizationFlow,
        raw_query: &str,
    ) -> Self {
        Self {
            client,
            flow,
            mount,
            resource,
            scope,
            raw_query: raw_query.to_owned(),
        }
    }

    /// Who asks.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Whether it is proved that the app is the one that somebody vouches for: the operator, or the site
    /// that describes it. In a browser their redirect URIs prove it. From another machine anybody can say
    /// to be an app of which no secret or key is asked.
    pub fn is_proved(&self) -> bool {
        let is_vouched_for = self.client.registration != Registration::SelfRegistered;
        is_vouched_for
            && match self.flow {
                AuthorizationFlow::Browser(..) => true,
                AuthorizationFlow::Device(_) => !self.client.authentication.asks_for_no_proof(),
            }
    }

    /// How it asks.
    pub const fn flow(&self) -> &AuthorizationFlow {
        &self.flow
    }

    /// The backend that is asked for.
    pub const fn mount(&self) -> &Mount {
        &self.mount
    }

    /// Its canonical identifier.
    pub const fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The scope that would be granted.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The whole request, undecoded, to be validated anew.
    pub fn raw_query(&self) -> &str {
        &self.raw_query
    }
}

/// What the checks hold a request against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) issuer: &'a Issuer,
    pub(super) mounts: &'a [Mount],
    pub(super) schemes: &'a PrivateUseSchemes,
    pub(super) scopes: &'a ScopeTable,
    /// Whether refresh tokens are served at all.
    pub(super) refresh: bool,
}

/// Who the request claims to come from: the one thing that must be known before it is judged.
pub(super) fn client_id(form: &Form) -> Result<ClientId, AuthorizeRefusal> {
    match form.one("client_id") {
        Ok(Some(id)) => Ok(ClientId::new(id)),
        Ok(None) => Err(page("The parameter client_id is missing.")),
        Err(error) => Err(page(&error.to_string())),
    }
}

/// The checks, in order. First those after which nobody can be redirected to.
pub(super) fn judge(
    raw_query: &str,
    form: &Form,
    client: Client,
    rules: Rules<'_>,
) -> Result<AuthorizationRequest, AuthorizeRefusal> {
    let callback = callback(form, &client, rules)?;
    let to_client = |error| AuthorizeRefusal::Redirect(Box::new(callback.clone()), error);
    form.one("state").map_err(malformed).map_err(to_client)?;
    response_type(form).map_err(to_client)?;
    let code_challenge = code_challenge(form).map_err(to_client)?;
    let mount = mount(form, rules.issuer, rules.mounts);
    let mount = mount.map_err(to_client)?.clone();
    let scopes = rules.scopes.at(&mount.name);
    let refresh = rules.refresh && client.may_refresh;
    let scope = scope(form, scopes, refresh).map_err(to_client)?;
    let resource = mount.resource(rules.issuer);
    let flow = AuthorizationFlow::Browser(callback, code_challenge);
    Ok(AuthorizationRequest::new(
        client, mount, resource, scope, flow, raw_query,
    ))
}

/// The redirect URI must be sent and be a registered one. OAuth 2.1 §4.1.1 lets a client with only
/// one leave it out; every MCP client sends it, and one that forgot it is told so.
fn callback(form: &Form, client: &Client, rules: Rules<'_>) -> Result<Callback, AuthorizeRefusal> {
    let requested = form
        .one("redirect_uri")
        .map_err(|error| page(&error.to_string()))?
        .ok_or_else(|| page("The parameter redirect_uri is missing."))?;
    let parsed = RedirectUri::parse(requested, rules.schemes);
    if let Err(error @ RedirectUriError::Scheme) = parsed {
        // Registered when the scheme was listed, or with another gateway.
        let detail = format!("{requested} {error}");
        return Err(AuthorizeRefusal::Page(Reason::RedirectUriInvalid, detail));
    }
    let redirect_uri = parsed
        .ok()
        .filter(|uri| {
            let mut registered = client.redirect_uris.iter();
            registered.any(|registered| uri.is_registered_as(registered))
        })
        .ok_or_else(|| AuthorizeRefusal::Page(Reason::RedirectUriMismatch, requested.to_owned()))?;
    Ok(Callback {
        client: client.id.clone(),
        redirect_uri,
        // A state that was sent twice is refused right after, and then not returned.
        state: form.one("state").ok().flatten().map(str::to_owned),
        issuer: rules.issuer.clone(),
    })
}

fn response_type(form: &Form) -> Result<(), OAuthError> {
    match form.one("response_type").map_err(malformed)? {
        Some("code") => {}
        Some(_) => {
            return Err(OAuthError::new(
                ErrorCode::UnsupportedResponseType,
                Reason::ResponseTypeUnsupported,
            ));
        }
        None => return Err(invalid("The parameter response_type is missing.")),
    }
    match form.one("response_mode").map_err(malformed)? {
        None | Some("query") => Ok(()),
        Some(_) => Err(invalid("Only response_mode=query is served.")),
    }
}

fn code_challenge(form: &Form) -> Result<CodeChallenge, OAuthError> {
    let refused = |reason| OAuthError::new(ErrorCode::InvalidRequest, reason);
    let method = form.one("code_challenge_method").map_err(malformed)?;
    let challenge = form
        .one("code_challenge")
        .map_err(malformed)?
        .ok_or_else(|| refused(Reason::PkceMissing))?;
    // Without the parameter the method is `plain` (RFC 7636 §4.3).
    if method != Some(S256) {
        return Err(refused(Reason::PkceMethodUnsupported));
    }
    CodeChallenge::parse(challenge)
        .ok_or_else(|| invalid("code_challenge is not the base64url of a SHA-256 digest."))
}

/// The scope that a request asks for, as far as it can be granted.
pub(crate) fn scope(form: &Form, scopes: &Scopes, refresh: bool) -> Result<Scope, OAuthError> {
    let requested = form.one("scope").map_err(malformed)?;
    scopes.grantable(requested, refresh).map_err(|error| {
        OAuthError::described(
            ErrorCode::InvalidScope,
            Reason::RequestMalformed,
            error.to_string(),
        )
    })
}

/// The backend that a request is for: the one that it names, or the default.
pub(crate) fn mount<'a>(
    form: &Form,
    issuer: &Issuer,
    mounts: &'a [Mount],
) -> Result<&'a Mount, OAuthError> {
    let unknown = |description: &str| {
        OAuthError::described(
            ErrorCode::InvalidTarget,
            Reason::ResourceUnknown,
            description,
        )
    };
    requested_mount(form.all("resource"), issuer, mounts)
        .map_err(|error| unknown(&error.to_string()))?
        .or_else(|| default_mount(mounts))
        .ok_or_else(|| unknown("Nothing is served here."))
}

fn page(detail: &str) -> AuthorizeRefusal {
    AuthorizeRefusal::Page(Reason::RequestMalformed, detail.to_owned())
}

#[cfg(test)]
mod tests;
