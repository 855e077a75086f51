//! `/admin/policy`.

use std::net::IpAddr;

use http::StatusCode;

use super::{Desk, said};
use crate::admin::failure::Failure;
use crate::cli::explain::for_page;
use crate::config::Config;
use gateway_core::protocol::web::Response;
use gateway_core::reason::Reason;
use gateway_oauth::owner::OwnerPress;
use gateway_oauth::pages::Page;
use gateway_oauth::pages::admin::{Explanation, Notice, PolicyPage, Question};

impl Desk<'_> {
    /// The page with what somebody asked, and what would be decided about it.
    pub(super) fn policy(
        &self,
        notice: Option<Notice>,
        question: Question,
        explanation: Option<Explanation>,
    ) -> Page {
        let mounts = &self.visit.server.settings.mounts;
        PolicyPage {
            frame: self.visit.frame(),
            admin: self.frame(notice),
            has_policy: self.visit.server.policy.current().is_some(),
            backends: mounts.iter().map(|mount| mount.name.as_str()).collect(),
            question,
            explanation,
            seal: self.visit.seal("explain", ""),
        }
        .page()
    }

    /// The answer to a question.
    pub(super) async fn answer_question(&self, press: &OwnerPress) -> Result<Response, Failure> {
        let question = question(press);
        let (notice, explanation) = match self.explain(&question).await? {
            Ok(explanation) => (None, Some(explanation)),
            Err(sentence) => {
                let reason = Reason::RequestMalformed;
                self.visit.log_refusal(reason);
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                (Some(Notice::refused(status, reason, sentence)), None)
            }
        };
        let status = notice.as_ref().map_or(StatusCode::OK, Notice::status);
        let page = self.policy(notice, question, explanation);
        Ok(self.visit.respond(status, page))
    }

    /// What would be decided under the policy of this moment; or why the question is none.
    async fn explain(&self, question: &Question) -> Result<Result<Explanation, String>, Failure> {
        let address = said(&question.address).map(|text| text.parse::<IpAddr>());
        let Ok(address) = address.transpose() else {
            return Ok(Err("the address is no IP address".to_owned()));
        };
        let server = self.visit.server;
        let (backend, tool) = (question.backend.as_str(), question.tool.as_str());
        // In nobody's name is asked what is theirs alone.
        let listing = if server.catalogue.is_personal(backend) {
            server.catalogue.last_listing(backend, &question.user)
        } else {
            let listing = server.catalogue.refresh(backend, Some(&question.user));
            listing.await.ok()
        };
        let labels = listing.and_then(|listing| listing.labels(tool));
        let asked = question.clone();
        self.note_reading("explain")?;
        let config = Config {
            policy: server.policy.current(),
            ..self.pages.config.clone()
        };
        let deciding =
            tokio::task::spawn_blocking(move || for_page(&asked, address, labels, config));
        let decided = deciding.await;
        decided.map_err(|error| Failure::new(Reason::Internal, error.to_string()))
    }
}

fn question(press: &OwnerPress) -> Question {
    let field = |name| press.field(name).trim().to_owned();
    Question {
        user: field("user"),
        client: field("client"),
        backend: field("backend"),
        tool: field("tool"),
        arguments: field("arguments"),
        address: field("address"),
    }
}
