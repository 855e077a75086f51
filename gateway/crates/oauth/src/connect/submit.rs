//! `POST /connect/NAME`: the way to the backend's authorization server, or the key.

use std::time::Duration;

use super::form::{ConnectGoal, Problem, bound, show};
use super::{done, person};
use crate::authorize::next_step::NextStep;
use crate::browser::{self, Cookie};
use crate::error_page::Refused;
use crate::form_token::{self, Purpose, SealError};
use crate::login;
use crate::pages::Goal;
use crate::provider::browser_hash;
use crate::request_limit::RequestLimit;
use crate::server::AuthorizationServer;
use gateway_accounts::Traveller;
use gateway_core::account::settings::AccountKind;
use gateway_core::browser_session::BrowserSession;
use gateway_core::clock::Timestamp;
use gateway_core::protocol::web::{self, Request, Response};
use gateway_core::reason::Reason;
use gateway_store::CountKey;
use gateway_upstream::CatalogueError;
use http::StatusCode;

/// How often accounts may be tried to be connected: each asks the backend.
const LIMIT: RequestLimit = RequestLimit {
    per_network: 60,
    in_all: 20_000,
    window: Duration::from_secs(600),
};

/// The longest authorization request that is kept while somebody is elsewhere, in bytes.
const LONGEST_REQUEST: usize = 2048;

/// The longest key, in bytes: it has to fit into a header.
const LONGEST_KEY: usize = 8192;

pub(super) async fn answer(
    server: &AuthorizationServer,
    request: &Request,
    backend: &str,
    now: Timestamp,
) -> Result<NextStep, Refused> {
    let form = browser::posted_form(&server.settings, request)?;
    let goal = ConnectGoal::from_form(&form);
    let back = match &goal {
        ConnectGoal::Authorize(query) => Goal::Authorize(query),
        ConnectGoal::Account | ConnectGoal::App => Goal::Page(&request.path),
    };
    let login_form = server.login_form();
    let session = login_form.resumed_session(request, back, now).await?;
    let browser = Cookie::Browser.read(&server.settings, request);
    let bound = bound(browser.unwrap_or_default(), &session, backend, &goal);
    let seal = form.field("seal");
    match form_token::unseal(&server.tags, Purpose::Connect, &bound, seal, now) {
        Ok(_) => {}
        Err(SealError::Broken) => {
            return Err(login::cross_site(&server.settings, request, "form_refused"));
        }
        Err(SealError::Expired) => {
            let problem = Problem::new(Reason::PageExpired, "");
            let page = show(server, request, &session, backend, &goal, Some(problem)).await?;
            return Ok(page.into());
        }
    }
    if let ConnectGoal::Authorize(query) = &goal
        && !form.field("later").is_empty()
    {
        return Ok(NextStep::WithoutAccount(query.clone(), session));
    }
    let attempt = Attempt {
        server,
        request,
        session: &session,
        backend,
        goal: &goal,
        now,
    };
    let response = attempt.connect(form.field("key").trim()).await?;
    Ok(response.into())
}

/// One press of the button.
struct Attempt<'a> {
    server: &'a AuthorizationServer,
    request: &'a Request,
    session: &'a BrowserSession,
    backend: &'a str,
    goal: &'a ConnectGoal,
    now: Timestamp,
}

impl Attempt<'_> {
    async fn connect(&self, key: &str) -> Result<Response, Refused> {
        let (by, all) = (
            CountKey::account_connections(&self.session.user),
            CountKey::all_account_connections(),
        );
        let records = &self.server.records;
        if let Some(reason) = LIMIT.count(records, &by, &all, self.now).await? {
            return self.again(Problem::new(reason, "")).await;
        }
        let settings = self.server.accounts.settings(self.backend);
        match settings.map(|settings| &settings.kind) {
            Some(AccountKind::Key { .. }) => self.with_key(key).await,
            _ => self.with_login().await,
        }
    }

    async fn again(&self, problem: Problem) -> Result<Response, Refused> {
        let (server, request, session) = (self.server, self.request, self.session);
        let problem = Some(problem);
        show(server, request, session, self.backend, self.goal, problem).await
    }

    /// The browser goes to the backend's authorization server.
    async fn with_login(&self) -> Result<Response, Refused> {
        if let ConnectGoal::Authorize(query) = self.goal
            && query.len() > LONGEST_REQUEST
        {
            let detail = format!(
                "the app's authorization request is longer than {LONGEST_REQUEST} bytes, which is too long \
                 to be kept meanwhile: connect the account at /account first"
            );
            return self
                .again(Problem::new(Reason::RequestMalformed, detail))
                .await;
        }
        let browser = browser_hash(&self.server.settings, self.request);
        let who = Traveller {
            person: person(self.session),
            browser: &browser,
        };
        let accounts = &self.server.accounts;
        match accounts.begin(self.backend, who, self.goal.kept()).await {
            Ok(url) => Ok(web::see_other(url.as_str())),
            Err(failure) => {
                let (reason, detail) = failure.explained()?;
                self.again(Problem::new(reason, detail)).await
            }
        }
    }

    /// The key is tried, and kept if the backend takes it.
    async fn with_key(&self, key: &str) -> Result<Response, Refused> {
        let accounts = &self.server.accounts;
        let header = accounts.header_of_key(self.backend, key);
        let Some(header) = header.filter(|_| key.len() <= LONGEST_KEY) else {
            let detail = "it is empty, or has characters that no key has";
            return self
                .again(Problem::new(Reason::AccountKeyRefused, detail))
                .await;
        };
        let (catalogue, user) = (&self.server.catalogue, &self.session.user_name);
        match catalogue.try_out(self.backend, user, header).await {
            Ok(_) => {}
            Err(CatalogueError::Refused(status @ (401 | 403))) => {
                let detail = format!("the backend answered {status}");
                return self
                    .again(Problem::new(Reason::AccountKeyRefused, detail))
                    .await;
            }
            Err(error) => {
                let detail = error.to_string();
                return self.again(Problem::new(Reason::ToolsUnknown, detail)).await;
            }
        }
        let connected = accounts.connect_key(self.backend, person(self.session), key);
        match connected.await? {
            Some(connected) => {
                let settings = &self.server.settings;
                Ok(done::answer(settings, self.request, &connected, self.goal))
            }
            None => {
                let problem = Problem {
                    status: StatusCode::NOT_FOUND,
                    ..Problem::new(Reason::NotFound, "")
                };
                self.again(problem).await
            }
        }
    }
}
