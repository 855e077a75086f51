//! The pages, the decision of whoever logs in, and the redirect back.

use std::time::Duration;

use rand::rngs::OsRng;
use url::Url;

use super::authorization_request::{Request, token_request};
use super::examination::{Client, Examination, Grant};
use crate::browser::{Browser, location};
use crate::callback;
use crate::check::Check;
use crate::checks::authorization::{self, Landing};
use crate::checks::discovery::Endpoints;
use crate::checks::token;
use crate::exchange::{Answer, Exchange};
use crate::finding::{Finding, Verdict};
use crate::form::{Decision, Page};
use crate::http_client::Ask;
use crate::http_client::HttpClient;
use crate::options::Login;
use gateway_core::secret::Secret;

/// How long the operator may think about pressing Deny as well.
const DENY_PATIENCE: Duration = Duration::from_secs(45);

/// Where a decision led: back to the client, or to an answer that is the end of the way.
type Walked = Result<Landing, Exchange>;

impl Examination<'_> {
    /// A token request with a code that is none: its error must be one that clients can read.
    pub(super) async fn refuse_bad_code(&mut self, endpoints: &Endpoints, client: &Client) {
        let Some(url) = &endpoints.token else {
            return self.found(Check::TokenError.after(Check::PrivateHost));
        };
        let exchange = self
            .redeem_unproven(url, client, "gateway-doctor-no-code")
            .await;
        self.found(token::token_error(&exchange));
    }

    /// A token request with a verifier that is nobody's.
    async fn redeem_unproven(&self, url: &Url, client: &Client, code: &str) -> Exchange {
        let verifier = Secret::draw(&mut OsRng);
        let fields = token_request(client, code, verifier.reveal());
        self.http.send(Ask::form(url, &fields)).await
    }

    /// What a browser without a session sees; the code, where it is given without a login.
    pub(super) async fn look_at_pages(
        &mut self,
        endpoints: &Endpoints,
        client: &Client,
    ) -> Option<(Request, Landing)> {
        let url = endpoints.authorization.as_ref()?;
        let request = self.request(endpoints, client);
        let login = visit(&self.http, &request.url(url)).await;
        let landing = location(&login).map(|url| request.landing(url, client));
        let landing = landing.filter(Landing::is_at_redirect_uri);
        let found = authorization::login_page(&login, landing.as_ref(), self.target.is_loopback());
        self.findings.extend(found);
        let open = landing.filter(|landing| landing.parameter("code").is_some());

        let elsewhere = "https://gateway-doctor.invalid/callback";
        for (check, name, value) in [
            (Check::BadRedirect, "redirect_uri", elsewhere),
            (Check::UnknownClient, "client_id", "gateway-doctor-unknown"),
        ] {
            let last = visit(&self.http, &request.with(name, value).url(url)).await;
            let finding = authorization::page_instead_of_redirect(check, &last);
            self.found(authorization::unless_blocked(finding, &last, &login));
        }

        let other_port = callback::redirect_uri(client.redirect_uri.port().unwrap_or(1) ^ 1);
        let to_other_port = request.with("redirect_uri", other_port.as_str());
        let last = visit(&self.http, &to_other_port.url(url)).await;
        let finding = authorization::loopback_port(&last);
        self.found(authorization::unless_blocked(finding, &last, &login));
        open.map(|landing| (request, landing))
    }

    /// The flow at a server that asks nobody: its answers are judged like those after a login.
    pub(super) async fn authorize_openly(
        &mut self,
        endpoints: &Endpoints,
        client: &Client,
        request: &Request,
        landing: &Landing,
    ) -> Option<Grant> {
        let (authorize, token) = (endpoints.authorization.as_ref()?, endpoints.token.as_ref()?);
        for check in [Check::Login, Check::Deny] {
            self.found(check.skip("nobody is asked"));
        }
        let mut landings = vec![landing.clone()];
        let without = self.request(endpoints, client).without("code_challenge");
        let without = without.without("code_challenge_method");
        let last = visit(&self.http, &without.url(authorize)).await;
        let refused = location(&last).map(|url| without.landing(url, client));
        self.found(authorization::pkce_required(refused.as_ref(), &last));

        let other = self.request(endpoints, client);
        let last = visit(&self.http, &other.url(authorize)).await;
        let second = location(&last).map(|url| other.landing(url, client));
        if let Some(code) = second.and_then(|landing| landing.parameter("code")) {
            let exchange = self.redeem_unproven(token, client, &code).await;
            self.found(token::pkce_verified(&exchange));
        }
        self.found(authorization::authorization_response(landing));
        landings.extend(refused);
        self.found(iss(&landings, endpoints));
        self.redeem(client, token, request, landing).await
    }

    /// The flow with somebody who logs in, to a grant.
    pub(super) async fn authorize(
        &mut self,
        endpoints: &Endpoints,
        client: &Client,
    ) -> Option<Grant> {
        let (authorize, token) = (endpoints.authorization.as_ref()?, endpoints.token.as_ref()?);
        match &self.options.login {
            Login::Nobody | Login::Token(_) => None,
            Login::Operator { patience } => {
                self.authorize_operator(endpoints, client, authorize, token, *patience)
                    .await
            }
            Login::Unattended { name, password } => {
                let (name, password) = (name.clone(), password.clone());
                let mut browser = self
                    .log_in(endpoints, client, authorize, &name, &password)
                    .await?;
                self.authorize_unattended(endpoints, client, authorize, token, &mut browser)
                    .await
            }
        }
    }

    async fn authorize_operator(
        &mut self,
        endpoints: &Endpoints,
        client: &Client,
        authorize: &Url,
        token: &Url,
        patience: Duration,
    ) -> Option<Grant> {
        let callback = client.callback.as_ref()?;
        let request = self.request(endpoints, client);
        (self.say)(&format!(
            "Open this in a browser on this machine, log in, and press Allow (waiting {} s):\n\n  {}\n",
            patience.as_secs(),
            request.url(authorize)
        ));
        let mut landings = Vec::new();
        let Some(url) = callback.landing(&request.state, patience).await else {
            let seconds = patience.as_secs();
            let summary = format!("nobody came back from the login within {seconds} s");
            self.found(Check::AuthorizationResponse.warn(summary));
            return None;
        };
        let landing = request.landing(url, client);
        landings.push(landing.clone());
        if landing.parameter("error").as_deref() == Some("access_denied") {
            self.found(authorization::deny(&landing));
            self.found(iss(&landings, endpoints));
            self.found(Check::AuthorizationResponse.skip("the operator pressed Deny"));
            return None;
        }
        self.found(authorization::authorization_response(&landing));
        let grant = self.redeem(client, token, &request, &landing).await;
        let request = self.request(endpoints, client);
        (self.say)(&format!(
            "If you like, open this too and press Deny (waiting {} s, then going on):\n\n  {}\n",
            DENY_PATIENCE.as_secs(),
            request.url(authorize)
        ));
        match callback.landing(&request.state, DENY_PATIENCE).await {
            Some(url) => {
                let landing = request.landing(url, client);
                self.found(authorization::deny(&landing));
                landings.push(landing);
            }
            None => self.found(Check::Deny.skip("nobody pressed Deny")),
        }
        self.found(iss(&landings, endpoints));
        grant
    }

    /// Logs in by the page's own form.
    async fn log_in(
        &mut self,
        endpoints: &Endpoints,
        client: &Client,
        authorize: &Url,
        name: &str,
        password: &Secret,
    ) -> Option<Browser> {
        let mut browser = Browser::default();
        let page = browser
            .visit(&self.http, &self.request(endpoints, client).url(authorize))
            .await;
        let Some(form) =
            Page::from_exchange(&page).and_then(|page| page.login(name, password.reveal()))
        else {
            let finding = Check::Login.fail("the page has no form for a name and a password");
            // Where a firewall answers, the check of the page has said so.
            let is_blocked = page.answer().is_some_and(Answer::is_bot_page);
            let is_said = self
                .findings
                .iter()
                .any(|found| found.check == Check::LoginPage && found.verdict != Verdict::Pass);
            self.found(if is_blocked && is_said {
                Check::Login.after(Check::LoginPage)
            } else {
                finding.seen(page.to_string())
            });
            return None;
        };
        let after = browser.submit(&self.http, &form).await;
        let Some(words) = still_asks_for_password(&after) else {
            self.found(Check::Login.pass(format!("{name} is logged in")));
            return Some(browser);
        };
        let finding = Check::Login.fail(format!("{name} was not let in: {words}"));
        self.found(finding.seen(after.to_string()));
        None
    }

    /// Deny, a request without PKCE, a wrong verifier, and at last a token.
    async fn authorize_unattended(
        &mut self,
        endpoints: &Endpoints,
        client: &Client,
        authorize: &Url,
        token: &Url,
        browser: &mut Browser,
    ) -> Option<Grant> {
        let mut landings = Vec::new();
        let request = self.request(endpoints, client);
        let walked = self
            .decide(browser, &request, client, authorize, Decision::Deny)
            .await;
        self.found(match &walked {
            Ok(landing) => authorization::deny(landing),
            Err(last) => astray(Check::Deny, last),
        });
        landings.extend(walked.ok());

        let without = self.request(endpoints, client).without("code_challenge");
        let last = browser.visit(&self.http, &without.url(authorize)).await;
        let landing = location(&last).map(|url| without.landing(url, client));
        self.found(authorization::pkce_required(landing.as_ref(), &last));
        landings.extend(landing);

        let request = self.request(endpoints, client);
        let walked = self
            .decide(browser, &request, client, authorize, Decision::Allow)
            .await;
        if let Ok(Some(code)) = walked.as_ref().map(|landing| landing.parameter("code")) {
            let exchange = self.redeem_unproven(token, client, &code).await;
            self.found(token::pkce_verified(&exchange));
        }
        landings.extend(walked.ok());

        let request = self.request(endpoints, client);
        let walked = self
            .decide(browser, &request, client, authorize, Decision::Allow)
            .await;
        let landing = match walked {
            Ok(landing) => landing,
            Err(last) => {
                self.found(astray(Check::AuthorizationResponse, &last));
                return None;
            }
        };
        self.found(authorization::authorization_response(&landing));
        landings.push(landing.clone());
        self.found(iss(&landings, endpoints));
        self.redeem(client, token, &request, &landing).await
    }

    /// Opens the consent page and presses a button.
    async fn decide(
        &self,
        browser: &mut Browser,
        request: &Request,
        client: &Client,
        authorize: &Url,
        decision: Decision,
    ) -> Walked {
        let page = browser.visit(&self.http, &request.url(authorize)).await;
        let Some(form) = Page::from_exchange(&page).and_then(|page| page.decide(decision)) else {
            return Err(page);
        };
        let last = browser.submit(&self.http, &form).await;
        let landing = location(&last).map(|url| request.landing(url, client));
        landing.ok_or(last)
    }
}

fn iss(landings: &[Landing], endpoints: &Endpoints) -> Finding {
    authorization::iss(landings, &endpoints.issuers, endpoints.iss)
}

async fn visit(http: &HttpClient, url: &Url) -> Exchange {
    Browser::default().visit(http, url).await
}

/// What the page says, when it is still one for the password.
fn still_asks_for_password(after: &Exchange) -> Option<String> {
    let refused = after
        .answer()
        .is_none_or(|answer| !answer.status.is_success());
    let page = Page::from_exchange(after);
    let mut forms = page.iter().flat_map(Page::forms);
    let asks = forms.any(|form| !form.passwords.is_empty());
    let led_back = location(after).is_some();
    (asks || (refused && !led_back)).then(|| Page::words_of(after))
}

/// A decision that did not lead back to the client.
fn astray(check: Check, last: &Exchange) -> Finding {
    let words = Page::words_of(last);
    check
        .fail(format!(
            "the pages did not lead back to the client: {words}"
        ))
        .seen(last.to_string())
}
