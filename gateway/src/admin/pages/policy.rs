//! `/admin/policy`.

use std::net::IpAddr;

use http::StatusCode;

use super::{Desk, problem};
use crate::admin::failure::Failure;
use crate::cli::explain::{PageQuestion, for_page};
use crate::config::Config;
use gateway_core::protocol::web::Response;
use gateway_core::reason::Reason;
use gateway_oauth::owner::OwnerPress;
use gateway_oauth::pages::admin::{Explanation, PolicyPage, Question};

impl Desk<'_> {
    pub(super) async fn policy(&self, press: Option<&OwnerPress>) -> Result<Response, Failure> {
        let question = press.map_or_else(Question::default, question);
        let explained = match press {
            None => None,
            Some(_) => Some(self.explain(&question).await?),
        };
        let (notice, explanation) = match explained {
            None => (None, None),
            Some(Ok(explanation)) => (None, Some(explanation)),
            Some(Err(sentence)) => (Some(problem(&sentence)), None),
        };
        let status = match notice {
            None => StatusCode::OK,
            Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let mounts = &self.visit.server.settings.mounts;
        let page = PolicyPage {
            admin: self.frame(notice),
            has_policy: self.visit.server.policy.current().is_some(),
            backends: mounts.iter().map(|mount| mount.name.as_str()).collect(),
            question,
            explanation,
            seal: self.visit.seal("explain", ""),
        };
        Ok(self.visit.respond(status, page.page()))
    }

    /// What would be decided under the policy of this moment; or why the question is none.
    async fn explain(&self, question: &Question) -> Result<Result<Explanation, String>, Failure> {
        let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let address = match said(&question.address).map(|text| text.parse::<IpAddr>()) {
            None => None,
            Some(Ok(address)) => Some(address),
            Some(Err(_)) => return Ok(Err("the address is no IP address".to_owned())),
        };
        let server = self.visit.server;
        let (backend, tool) = (question.backend.as_str(), question.tool.as_str());
        let listing = server.catalogue.refresh(backend, Some(&question.user));
        let listing = listing.await.ok();
        let asked = PageQuestion {
            user: question.user.clone(),
            client: said(&question.client),
            backend: backend.to_owned(),
            tool: tool.to_owned(),
            arguments: said(&question.arguments),
            address,
            labels: listing.and_then(|listing| listing.labels(tool)),
        };
        self.note_reading("explain")?;
        let config = Config {
            policy: server.policy.current(),
            ..self.pages.config.clone()
        };
        let deciding = tokio::task::spawn_blocking(move || for_page(&asked, config));
        let answer = deciding
            .await
            .map_err(|error| Failure::new(Reason::Internal, error.to_string()))?;
        Ok(answer.map(|answer| Explanation {
            is_allowed: answer.refusal.is_empty(),
            refusal: answer.refusal,
            rule: answer.rule,
            facts: answer.facts,
            assumed: answer.assumed,
        }))
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
