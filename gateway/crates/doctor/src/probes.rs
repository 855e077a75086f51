//! The examination in the order of a client: reach, discover, be challenged, register, authorize,
//! redeem, call, refresh, stream, be revoked. Makes exchanges; what they mean is decided in `checks`.

mod authorization;
mod authorization_request;
mod challenge;
mod discovery;
mod examination;
pub(super) mod first_event;
mod network;
mod refresh;
mod registration;
mod session;
mod streams;

use self::examination::{Examination, Grant};
use super::checks;
use super::checks::discovery::Endpoints;
use super::exchange::are_ours;
use super::finding::Report;
use super::http_client::HttpClient;
use super::options::{Login, Options};
use super::trust::{TrustError, client_config};

/// Examines a deployment. `say` shows the operator what to open in the browser.
pub async fn examine(options: &Options, say: &(dyn Fn(&str) + Sync)) -> Result<Report, TrustError> {
    let tls = client_config(options.ca_file.as_deref())?;
    let mut examination = Examination {
        options,
        target: &options.target,
        http: HttpClient::new(tls.clone(), options.timeout),
        say,
        findings: Vec::new(),
        notes: Vec::new(),
    };
    let network = network::look(&options.target, tls, options.timeout).await;
    let found = checks::network::network(examination.target, &network);
    examination.findings.extend(found);
    if network.is_usable() {
        examination.run().await;
        let found = checks::network::obstacles(&examination.http.log());
        examination.findings.extend(found);
    }
    Ok(Report::new(
        options.target.typed.clone(),
        are_ours(&examination.http.log()),
        examination.findings,
        examination.notes,
    ))
}

impl Examination<'_> {
    async fn run(&mut self) {
        let discovery = self.discover().await;
        self.look_like_clients(&discovery).await;
        self.be_challenged(&discovery).await;
        let Some(endpoints) = discovery.endpoints(self.target) else {
            return;
        };
        if let Login::Token(token) = &self.options.login {
            return self.use_given(token.reveal()).await;
        }
        let Some(client) = self.register(&endpoints).await else {
            return;
        };
        self.refuse_bad_code(&endpoints, &client).await;
        let open = self.look_at_pages(&endpoints, &client).await;
        if let Some((request, landing)) = open {
            self.notes.push(
                "A code was given without a login, so everything behind it was looked at."
                    .to_owned(),
            );
            let grant = self
                .authorize_openly(&endpoints, &client, &request, &landing)
                .await;
            if let Some(grant) = grant {
                self.use_grant(&endpoints, &grant).await;
            }
        } else if matches!(self.options.login, Login::Nobody) {
            self.notes.push(
                "Nobody logged in, so nothing behind the login was looked at: run with --login and \
                 --password-file, or in a terminal without --no-browser."
                    .to_owned(),
            );
        } else if let Some(grant) = self.authorize(&endpoints, &client).await {
            self.use_grant(&endpoints, &grant).await;
        }
        self.deregister(&client).await;
    }

    /// What a token of before is good for.
    async fn use_given(&mut self, token: &str) {
        self.notes.push(
            "A token was given, so nobody logged in: registration, login, refresh, streams and \
             revocation were not looked at."
                .to_owned(),
        );
        let grant = Grant {
            client_id: String::new(),
            token: token.to_owned(),
            refresh_token: None,
            redeemed: Vec::new(),
        };
        self.use_token(&grant).await;
    }

    async fn use_grant(&mut self, endpoints: &Endpoints, grant: &Grant) {
        let session = self.use_token(grant).await;
        self.refresh(endpoints, grant).await;
        self.stream_and_end(endpoints, grant, session).await;
        self.redeem_again(endpoints, grant).await;
    }
}
