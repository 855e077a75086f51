//! A web site with TLS that holds what clients publish of themselves: metadata documents and keys.
//! The test decides what stands at each path, and counts who asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::gateway::Setup;
use crate::recorder::{Answer, Recorder, Step};
use crate::tls::{Certificates, TlsFront};

type Answers = Arc<Mutex<HashMap<String, Answer>>>;

/// The web site.
pub struct DocumentSite {
    certificates: Certificates,
    front: TlsFront,
    recorder: Recorder,
    answers: Answers,
}

impl DocumentSite {
    /// Start one with nothing on it.
    pub async fn start() -> Result<Self> {
        let certificates = Certificates::make("IP:127.0.0.1,DNS:localhost", 30)?;
        let front = TlsFront::start(&certificates).await?;
        let answers = Answers::default();
        let known = answers.clone();
        let recorder = Recorder::start(move |request| {
            let known = known.lock().expect("no panic under it");
            known
                .get(request.path())
                .cloned()
                .unwrap_or_else(|| Answer::json(404, &json!({})))
        })
        .await?;
        front.front(recorder.address);
        Ok(DocumentSite {
            certificates,
            front,
            recorder,
            answers,
        })
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.front.origin())
    }

    /// A gateway that trusts the certificate and asks this address, private as it is.
    pub fn known_to(&self, mut setup: Setup) -> Setup {
        setup.environment.push((
            "SSL_CERT_FILE".into(),
            self.certificates.authority().display().to_string(),
        ));
        setup
            .environment
            .push(("GATEWAY__CLIENTS__PRIVATE_HOSTS".into(), "127.0.0.1".into()));
        setup
    }

    /// What stands at a path from now on.
    pub fn answer(&self, path: &str, answer: Answer) {
        let mut answers = self.answers.lock().expect("no panic under it");
        answers.insert(path.to_owned(), answer);
    }

    /// A JSON document.
    pub fn put(&self, path: &str, document: &Value) {
        self.answer(path, Answer::json(200, document));
    }

    /// A JSON document that takes its time.
    pub fn put_slowly(&self, path: &str, document: &Value, time: Duration) {
        let steps = vec![Step::Wait(time), Step::Send(document.to_string())];
        let headers = vec![("Content-Type".into(), "application/json".into())];
        self.answer(path, Answer::Steps(200, headers, steps));
    }

    /// The metadata document of a public client at a path; returns its id.
    pub fn put_client(&self, path: &str, redirect_uris: &[&str]) -> String {
        let id = self.url(path);
        self.put(path, &document(&id, redirect_uris));
        id
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        let requests = self.recorder.requests();
        requests
            .iter()
            .filter(|request| request.path() == path)
            .count()
    }
}

/// The metadata document of a public client.
pub fn document(id: &str, redirect_uris: &[&str]) -> Value {
    json!({
        "client_id": id,
        "client_name": "Documented App",
        "redirect_uris": redirect_uris,
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    })
}
