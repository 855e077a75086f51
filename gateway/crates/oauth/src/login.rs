//! `/login` and `/logout`: from a password, or a passkey (`passkey::login`), to a browser session, and its
//! end.
//!
//! Not: what comes afterwards. Both go on to `/authorize` with the request that the form carries, to
//! the person's apps, to a page that the table of endpoints opens after a login, or to the start page;
//! no form and no parameter can name another place.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use rand::rngs::OsRng;

use crate::audited::{audited, by};
use crate::browser::{self, BrowserName, Cookie, PostedForm};
use crate::endpoint::Endpoint;
use crate::error_page::{self, Refused};
use crate::form_token::{self, Purpose, SealError};
use crate::identity::{LoginName, Password, Passwords, people};
use crate::known_device_cookie;
use crate::login_limit::Attempt;
use crate::pages::{self, Goal, Login, LoginProblem, Ownerless, ProviderButton};
use crate::passkey::{form, login as passkey_login};
use crate::provider::settings::Provider;
use crate::server::{AuthorizationServer, Settings};
use crate::session::current_session;
use crate::ways_in::WaysIn;
use gateway_core::audit::{Event, Record};
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_core::secret::TagKey;
use gateway_store::{Records, User};

/// The login page. While nobody can log in yet it says what to do.
pub(super) async fn page(
    login_form: LoginForm<'_>,
    request: &Request,
    goal: Goal<'_>,
) -> Result<Response, Refused> {
    // Whoever comes through a provider needs nobody who was there before.
    let has_users = !login_form.ways.providers.all().is_empty()
        || login_form.records.has_users(login_form.clock.now()).await?;
    Ok(if has_users {
        login_form.show(request, goal, None, None)
    } else {
        ownerless(
            login_form.ways.settings,
            request,
            goal.authorization_request(),
        )
    })
}

/// What the login page is made of: the ways in that it offers, who is there to log in, and what its forms are
/// sealed with.
#[derive(Clone, Copy)]
pub(super) struct LoginForm<'a> {
    pub(super) ways: WaysIn<'a>,
    pub(super) records: &'a Records,
    pub(super) tags: &'a TagKey,
    pub(super) clock: Clock,
}

impl AuthorizationServer {
    pub(super) const fn login_form(&self) -> LoginForm<'_> {
        LoginForm {
            ways: self.ways_in(),
            records: &self.records,
            tags: &self.tags,
            clock: self.clock,
        }
    }
}

impl LoginForm<'_> {
    /// The session of whoever is logged in; else the login page, from which they come back.
    pub(super) async fn session(
        self,
        request: &Request,
        goal: Goal<'_>,
        now: Timestamp,
    ) -> Result<BrowserSession, Refused> {
        match current_session(self.ways, self.records, request, now).await? {
            Some((_, session)) => Ok(session),
            None => Err(page(self, request, goal).await?.into()),
        }
    }

    /// The session in which something was begun that is sent now; else the login page, which says that the
    /// session has ended.
    pub(super) async fn resumed_session(
        self,
        request: &Request,
        goal: Goal<'_>,
        now: Timestamp,
    ) -> Result<BrowserSession, Refused> {
        let current = current_session(self.ways, self.records, request, now).await?;
        let session = current.map(|(_, session)| session);
        session.ok_or_else(|| self.after_session(request, goal).into())
    }

    /// The person of a session, as they are now; else the login page, which says that the session has ended.
    pub(super) async fn person(
        self,
        request: &Request,
        session: &BrowserSession,
        goal: Goal<'_>,
        now: Timestamp,
    ) -> Result<User, Refused> {
        let user = self.records.user(&session.user_name, now).await?;
        let user = user.filter(|user| user.id == session.user);
        user.ok_or_else(|| self.after_session(request, goal).into())
    }

    /// The login page after another page found that the session had ended.
    pub(super) fn after_session(self, request: &Request, goal: Goal<'_>) -> Response {
        let problem = Some(LoginProblem::SessionEnded);
        self.show(request, goal, None, problem)
    }

    /// Nobody but the page that this browser was shown may log it in: else a stranger could log it in
    /// as somebody else, and consent would be given under that name.
    pub(super) fn check_seal(
        self,
        request: &Request,
        fields: &Fields<'_>,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let browser = Cookie::Browser
            .read(self.ways.settings, request)
            .unwrap_or_default();
        let sealed = sealed(fields.goal);
        let bound = [browser.as_bytes(), sealed.as_bytes()];
        match form_token::unseal(self.tags, Purpose::Login, &bound, fields.seal, now) {
            Ok(_) => Ok(()),
            Err(SealError::Broken) => Err(cross_site(self.ways.settings, request, "login_refused")),
            Err(SealError::Expired) => Err(self.again(request, fields, LoginProblem::PageExpired)),
        }
    }

    pub(super) fn refuse_while_limited(
        self,
        request: &Request,
        fields: &Fields<'_>,
        wait: Option<Duration>,
    ) -> Result<(), Refused> {
        match wait {
            None => Ok(()),
            Some(wait) => {
                error_page::log("login_refused", request, Reason::LoginLimited);
                Err(self.again(request, fields, LoginProblem::Limited(wait)))
            }
        }
    }

    fn again(self, request: &Request, fields: &Fields<'_>, problem: LoginProblem) -> Refused {
        let reason = match problem {
            LoginProblem::Limited(_) => Reason::LoginLimited,
            _ => Reason::LoginFailed,
        };
        let page = self.show_again(request, fields, problem);
        audited(page, Record::refused(Event::Login, reason, false)).into()
    }

    pub(super) fn show_again(
        self,
        request: &Request,
        fields: &Fields<'_>,
        problem: LoginProblem,
    ) -> Response {
        self.show(request, fields.goal, fields.typed, Some(problem))
    }

    fn show(
        self,
        request: &Request,
        goal: Goal<'_>,
        typed: Option<&str>,
        problem: Option<LoginProblem>,
    ) -> Response {
        let (settings, now) = (self.ways.settings, self.clock.now());
        let browser = BrowserName::from_request(settings, request);
        let goal = match goal {
            Goal::Authorize(query) => {
                browser::authorization_request(query).map_or(Goal::Start, Goal::Authorize)
            }
            goal => goal,
        };
        let buttons: Vec<_> = self.ways.providers.all().iter().map(button).collect();
        let sealed = sealed(goal);
        let bound = [browser.value.as_bytes(), sealed.as_bytes()];
        let seal = form_token::seal(self.tags, Purpose::Login, &bound, now, &mut OsRng);
        let ceremony = self.ways.passkeys.begin_login();
        let passkey_seal = ceremony.as_ref().map(|ceremony| {
            let (purpose, about) = (Purpose::PasskeyLogin, sealed.as_ref());
            form::seal(self.tags, purpose, &browser.value, about, ceremony, now)
        });
        let page = Login {
            frame: browser::frame(settings, request),
            goal,
            seal: &seal,
            name: typed.unwrap_or_default(),
            problem,
            providers: &buttons,
            passkey: form::fields(ceremony.as_ref(), passkey_seal.as_deref()),
            with_password: settings.password_login || asks_for_password(request, typed),
        }
        .page();
        let (status, wait) = match problem {
            None => (StatusCode::OK, None),
            Some(LoginProblem::Limited(wait)) => (StatusCode::TOO_MANY_REQUESTS, Some(wait)),
            Some(_) => (StatusCode::FORBIDDEN, None),
        };
        let response = browser.respond(settings, status, page);
        match wait {
            Some(wait) => web::with_retry_after(response, wait.as_secs() + 1),
            None => response,
        }
    }
}

/// `POST /login`.
pub(super) async fn submit(
    server: &AuthorizationServer,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let form = browser::posted_form(&server.settings, request)?;
    if !form.field("credential").is_empty() {
        return passkey_login::log_in(server.sessions(), server.login_form(), request, &form, now)
            .await;
    }
    let login_form = server.login_form();
    let fields = Fields::from_form(&server.settings, &form);
    login_form.check_seal(request, &fields, now)?;
    let typed = fields.typed.unwrap_or_default();
    let user = match LoginName::parse(typed) {
        Some(name) => server.records.user(name.as_str(), now).await?,
        None => None,
    };
    let attempt = Attempt::new(
        request.peer,
        typed,
        known_device(&server.settings, &server.tags, request, user.as_ref(), now),
    );
    let wait = attempt.wait(&server.records, now).await?;
    login_form.refuse_while_limited(request, &fields, wait)?;
    let right = check_password(
        &server.passwords,
        &server.records,
        user.as_ref(),
        fields.password,
        now,
    )
    .await?;
    if let Some(user) = &user
        && right
        && !server.settings.takes_password_of(user)
    {
        error_page::log("login_refused", request, Reason::PasswordLoginOff);
        let page = login_form.show_again(request, &fields, LoginProblem::Failed);
        let record = Record::refused(Event::Login, Reason::PasswordLoginOff, false);
        attempt.count_failure(&server.records, now).await?;
        return Err(audited(page, record).into());
    }
    let is_disabled = user.as_ref().is_some_and(|user| user.disabled.is_some());
    let Some(user) = user.filter(|_| right && !is_disabled) else {
        attempt.count_failure(&server.records, now).await?;
        // The name is not logged: people type passwords into the wrong field. The page says the same
        // to everybody, so that it tells nobody who is disabled.
        let reason = if right && is_disabled {
            Reason::UserDisabled
        } else {
            Reason::LoginFailed
        };
        error_page::log("login_refused", request, reason);
        let page = login_form.show_again(request, &fields, LoginProblem::Failed);
        return Err(audited(page, Record::refused(Event::Login, reason, false)).into());
    };
    // Guesses that were on their way when the limit was reached are refused, right ones too.
    let wait = attempt.wait(&server.records, server.clock.now()).await?;
    login_form.refuse_while_limited(request, &fields, wait)?;
    log::info!(
        event = "login",
        user = user.id.as_str(),
        request_id = request.request_id.as_str();
        "a person logged in"
    );
    let opened = server
        .sessions()
        .open(request, &user, &location(fields.goal), now)
        .await?;
    let record = by(&user.id, Event::Login);
    Ok(audited(opened, record))
}

/// `POST /logout`: ends the session, or all of the person's; goes on to `/authorize` if the form names
/// a request.
pub(super) async fn logout(
    login_form: LoginForm<'_>,
    request: &Request,
    now: Timestamp,
) -> Result<Response, Refused> {
    let LoginForm {
        ways,
        records,
        tags,
        ..
    } = login_form;
    let form = browser::posted_form(ways.settings, request)?;
    let fields = Fields::from_form(ways.settings, &form);
    let mut response = web::see_other(&location(fields.goal));
    let Some((hash, session)) = current_session(ways, records, request, now).await? else {
        // Pressed twice: the browser may never have read the first answer.
        if Cookie::Session.read(ways.settings, request).is_some() {
            Cookie::Session.clear(ways.settings, &mut response);
        }
        return Ok(response);
    };
    let browser = BrowserName::from_request(ways.settings, request);
    let bound = [browser.value.as_bytes(), session.user.as_str().as_bytes()];
    form_token::unseal(tags, Purpose::LogOut, &bound, fields.seal, now)
        .map_err(|_| cross_site(ways.settings, request, "logout_refused"))?;
    let everywhere = form.field("where") == "everywhere";
    if everywhere {
        people::end_sessions(records, &session.user_name, now, &mut OsRng).await?;
    }
    records.end_session(&hash).await?;
    Cookie::Session.clear(ways.settings, &mut response);
    log::info!(
        event = "logout",
        user = session.user.as_str(),
        everywhere = everywhere,
        request_id = request.request_id.as_str();
        "a person logged out"
    );
    let record = Record {
        detail: everywhere.then(|| "every browser".to_owned()),
        ..by(&session.user, Event::Logout)
    };
    Ok(audited(response, record))
}

/// What the forms of the login page carry.
pub(super) struct Fields<'f> {
    pub(super) goal: Goal<'f>,
    seal: &'f str,
    /// The name, where the form asked for one: a passkey names its person itself.
    typed: Option<&'f str>,
    password: &'f str,
}

impl<'f> Fields<'f> {
    pub(super) fn from_form(settings: &Settings, form: &'f PostedForm) -> Self {
        Self {
            goal: match browser::authorization_request(form.field("request")) {
                Some(query) => Goal::Authorize(query),
                None => match form.field("goal") {
                    "account" => Goal::Account,
                    "tokens" => Goal::Tokens,
                    "passkeys" => Goal::Passkeys,
                    other => own_page(settings, other).map_or(Goal::Start, Goal::Page),
                },
            },
            seal: form.field("seal"),
            typed: form
                .field("credential")
                .is_empty()
                .then(|| form.field("name").trim()),
            password: form.field("password"),
        }
    }
}

/// Where the browser goes next: always on this origin.
pub(super) fn location(goal: Goal<'_>) -> String {
    match goal {
        Goal::Authorize(query) => format!("{}?{query}", Endpoint::Authorize.path()),
        Goal::Account => Endpoint::Account.path().to_owned(),
        Goal::Tokens => Endpoint::AccountTokens.path().to_owned(),
        Goal::Page(path) => path.to_owned(),
        Goal::Passkeys => Endpoint::AccountPasskeys.path().to_owned(),
        Goal::Start => Endpoint::Home.path().to_owned(),
    }
}

/// A path of a page that somebody may have wanted to open before they logged in.
pub(super) fn own_page<'p>(settings: &Settings, path: &'p str) -> Option<&'p str> {
    let found = Endpoint::find(path, &settings.mounts)?;
    found.endpoint.is_reached_by_login().then_some(path)
}

/// What the seal of a login form binds of its goal. No query has a `#`.
pub(super) fn sealed(goal: Goal<'_>) -> Cow<'_, str> {
    match goal {
        Goal::Authorize(query) => query.into(),
        Goal::Account => "#account".into(),
        Goal::Tokens => "#tokens".into(),
        Goal::Passkeys => "#passkeys".into(),
        Goal::Page(path) => format!("#{path}").into(),
        Goal::Start => "".into(),
    }
}

/// The name of a browser in which this person has logged in before.
fn known_device<'r>(
    settings: &Settings,
    tags: &TagKey,
    request: &'r Request,
    user: Option<&User>,
    now: Timestamp,
) -> Option<&'r str> {
    let proof = Cookie::Device.read(settings, request)?;
    known_device_cookie::verify(tags, &user?.id, proof, now)
}

/// Whether the password is the user's. For a name that nobody has, or somebody without a password, the
/// hash of somebody else is computed and its answer thrown away, so that the time does not tell which
/// names exist.
async fn check_password(
    passwords: &Passwords,
    records: &Records,
    user: Option<&User>,
    password: &str,
    now: Timestamp,
) -> Result<bool, Refused> {
    let own = user.and_then(User::password);
    let decoy = decoy(passwords, records, now).await;
    let Some(password) = Password::presented(password) else {
        return Ok(false);
    };
    let right = passwords.check(own.or(decoy), password).await?;
    Ok(right && own.is_some())
}

/// The hash of somebody else. It is looked for once, whether or not it is needed, as not to do so would tell
/// by the time; and a store of which a part is away answers a name that nobody has like any other.
async fn decoy<'a>(passwords: &'a Passwords, records: &Records, now: Timestamp) -> Option<&'a str> {
    if passwords.decoy().is_none()
        && let Ok(Some(somebody)) = records.any_user(now).await
        && let Some(hash) = somebody.password()
    {
        passwords.keep_decoy(hash);
    }
    passwords.decoy()
}

pub(super) fn cross_site(settings: &Settings, request: &Request, event: &str) -> Refused {
    error_page::refused(settings, request, event, Reason::CrossSiteForm)
}

fn ownerless(
    settings: &Settings,
    request: &Request,
    authorization_request: Option<&str>,
) -> Response {
    let page = Ownerless {
        frame: browser::frame(settings, request),
        authorization_request: authorization_request.and_then(browser::authorization_request),
    }
    .page();
    pages::respond(StatusCode::OK, page, settings.issuer.is_https())
}

/// Whether the owner comes to the rescue: at `/login?password`, or back from its form.
fn asks_for_password(request: &Request, typed: Option<&str>) -> bool {
    request.path == Endpoint::Login.path()
        && (typed.is_some() || request.query.as_deref() == Some("password"))
}

fn button(provider: &Provider) -> ProviderButton<'_> {
    ProviderButton {
        name: &provider.name,
        words: &provider.words,
    }
}
