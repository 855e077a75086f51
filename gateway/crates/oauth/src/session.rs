//! A person's session in a browser: which one a request comes with, how one is opened, and the seal of
//! the form that ends it.
//!
//! Not: who may open one (`login`, `setup`), how long it lasts (`gateway_core::browser_session`).

use rand::rngs::OsRng;

use crate::browser::{BrowserName, Cookie};
use crate::form_token::{self, Purpose};
use crate::known_device_cookie;
use crate::provider::membership::membership;
use crate::provider::settings::Provider;
use crate::server::{AuthorizationServer, Settings};
use crate::ways_in::WaysIn;
use gateway_core::browser_session::{self, BrowserSession, ProviderAccount};
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::secret::{Secret, SecretHash, TagKey};
use gateway_store::{Identity, Passkey, Records, StoreError, User};

/// The session that the request's cookie stands for: not expired, and of a person who may log in, whose
/// password is still the one it was opened with, or who still has the passkey that they came with or the
/// account at a provider that they came through.
pub(super) async fn current_session(
    ways: WaysIn<'_>,
    records: &Records,
    request: &Request,
    now: Timestamp,
) -> Result<Option<(SecretHash, BrowserSession)>, StoreError> {
    let Some(cookie) = Cookie::Session.read(ways.settings, request) else {
        return Ok(None);
    };
    let hash = Secret::presented(cookie).hash();
    let Some(session) = records.session(&hash, now).await? else {
        return Ok(None);
    };
    let user = records.user(&session.user_name, now).await?;
    let live = user.is_some_and(|user| {
        user.disabled.is_none()
            && session.is_live(&user.id, &user.credential(), now)
            && has_account(&user, &session)
            && has_passkey(&user, session.passkey.as_deref())
            && membership(ways, &user, now).is_ok()
    });
    Ok(live.then_some((hash, session)))
}

/// Whether somebody who came through an account at a provider, if through one, has it still.
fn has_account(user: &User, session: &BrowserSession) -> bool {
    let mut identities = user.identities.iter();
    session.provider.is_none() || identities.any(|identity| came_through(session, identity))
}

/// Whether the person of this session came through this account. Another one at the same provider is
/// somebody else's word; only where an earlier version opened the session nothing says which one it was.
pub(super) fn came_through(session: &BrowserSession, identity: &Identity) -> bool {
    match &session.account {
        Some(account) => identity.is(&account.issuer, &account.subject),
        None => session.provider.as_deref() == Some(&identity.provider),
    }
}

/// Whether somebody who came with this passkey, if with one, has it still.
fn has_passkey(user: &User, passkey: Option<&str>) -> bool {
    passkey.is_none_or(|id| user.passkey(id).is_some())
}

/// What a session is opened with: the settings of cookies, where sessions are kept, and the key of the
/// cookie by which a known device is told.
#[derive(Clone, Copy)]
pub(super) struct Sessions<'a> {
    pub(super) settings: &'a Settings,
    pub(super) records: &'a Records,
    pub(super) tags: &'a TagKey,
}

impl AuthorizationServer {
    pub(super) const fn sessions(&self) -> Sessions<'_> {
        Sessions {
            settings: &self.settings,
            records: &self.records,
            tags: &self.tags,
        }
    }
}

impl Sessions<'_> {
    /// Opens a session for somebody who has just proved who they are: always under a new id, and the
    /// one that the browser had before is dead.
    pub(super) async fn open(
        self,
        request: &Request,
        user: &User,
        location: &str,
        now: Timestamp,
    ) -> Result<Response, StoreError> {
        self.begin(request, user, begun(user, now), location, now)
            .await
    }

    /// The same for somebody who came through an identity provider: for no longer than what the provider
    /// said of them holds.
    pub(super) async fn open_by(
        self,
        request: &Request,
        user: &User,
        provider: &Provider,
        account: ProviderAccount,
        location: &str,
        now: Timestamp,
    ) -> Result<Response, StoreError> {
        let session = begun(user, now);
        let ends = provider.max_age.map(|age| now + age);
        let session = BrowserSession {
            expires: ends.map_or(session.expires, |ends| ends.min(session.expires)),
            provider: Some(provider.name.clone()),
            account: Some(account),
            ..session
        };
        self.begin(request, user, session, location, now).await
    }

    /// The same for somebody who came with a passkey.
    pub(super) async fn open_with(
        self,
        request: &Request,
        user: &User,
        passkey: &Passkey,
        location: &str,
        now: Timestamp,
    ) -> Result<Response, StoreError> {
        let session = BrowserSession {
            passkey: Some(passkey.id.clone()),
            ..begun(user, now)
        };
        self.begin(request, user, session, location, now).await
    }

    async fn begin(
        self,
        request: &Request,
        user: &User,
        session: BrowserSession,
        location: &str,
        now: Timestamp,
    ) -> Result<Response, StoreError> {
        let response = web::see_other(location);
        let renewed = renew(self.settings, self.records, request, response, &session);
        let mut response = renewed.await?;
        let device = known_device_cookie::prove(self.tags, &user.id, now, &mut OsRng);
        Cookie::Device.set(
            self.settings,
            &mut response,
            &device,
            Some(known_device_cookie::LIFETIME),
        );
        Ok(response)
    }
}

fn begun(user: &User, now: Timestamp) -> BrowserSession {
    BrowserSession::begin(user.id.clone(), user.name.clone(), &user.credential(), now)
}

/// Keeps a session of which something was proved anew under a new id of its own, and ends the one that
/// the browser came with.
pub(super) async fn renew(
    settings: &Settings,
    records: &Records,
    request: &Request,
    mut response: Response,
    session: &BrowserSession,
) -> Result<Response, StoreError> {
    if let Some(old) = Cookie::Session.read(settings, request) {
        let old = Secret::presented(old).hash();
        records.end_session(&old).await?;
    }
    let id = Secret::draw(&mut OsRng);
    records.open_session(&id.hash(), session).await?;
    let lifetime = Some(browser_session::LIFETIME);
    Cookie::Session.set(settings, &mut response, id.reveal(), lifetime);
    Ok(response)
}

/// The seal of a log-out form for the person of `session`.
pub(super) fn log_out_seal(
    tags: &TagKey,
    browser: &BrowserName,
    session: &BrowserSession,
    now: Timestamp,
) -> String {
    let bound = [browser.value.as_bytes(), session.user.as_str().as_bytes()];
    form_token::seal(tags, Purpose::LogOut, &bound, now, &mut OsRng)
}
