//! The pages as a browser meets them: cookies, forms and seals together.

mod account;
mod consent;
mod login;
mod setup;

use std::collections::BTreeMap;

use http::header::{LOCATION, SET_COOKIE};
use http::{Method, StatusCode};
use rand::rngs::OsRng;

use super::{ORIGIN, ask, request, server};
use crate::identity::{self, LoginName, Password, SetupCode};
use crate::login as login_page;
use crate::pages::Goal;
use crate::server::AuthorizationServer;
use gateway_core::protocol::web::{Request, Response};

const PASSWORD: &str = "correct horse battery";

async fn server_of_alice() -> AuthorizationServer {
    let server = server();
    let password = Password::new(PASSWORD).unwrap();
    let phc = server.passwords.hash(password).await.unwrap();
    let alice = LoginName::parse("alice").unwrap();
    let now = server.clock.now();
    identity::ensure_owner(&server.records, &alice, &phc, now, &mut OsRng)
        .await
        .unwrap();
    server
}

/// A browser: keeps cookies, and sends what browsers send with a form.
struct Browser {
    cookies: BTreeMap<String, String>,
    address: &'static str,
    headers: Vec<(&'static str, &'static str)>,
}

impl Browser {
    fn new() -> Self {
        Self {
            cookies: BTreeMap::new(),
            address: "192.0.2.1",
            headers: vec![("sec-fetch-site", "same-origin"), ("origin", ORIGIN)],
        }
    }

    fn request(&self, method: Method, target: &str, form: &[(&str, &str)]) -> Request {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        let cookies = cookies.join("; ");
        let mut headers = vec![("cookie", cookies.as_str())];
        if method == Method::POST {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
            headers.extend_from_slice(&self.headers);
        }
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        Request {
            peer: self.address.parse().unwrap(),
            ..request(method, target, &headers, &body)
        }
    }

    fn get(&self, target: &str) -> Request {
        self.request(Method::GET, target, &[])
    }

    fn post(&self, target: &str, form: &[(&str, &str)]) -> Request {
        self.request(Method::POST, target, form)
    }

    fn keep(&mut self, response: &Response) {
        for line in response.headers().get_all(SET_COOKIE) {
            let line = line.to_str().unwrap();
            for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
                assert!(line.contains(attribute), "{line}");
            }
            assert!(line.starts_with("__Host-"), "{line}");
            let (name, rest) = line.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    async fn log_in(
        &mut self,
        server: &AuthorizationServer,
        goal: Option<&str>,
        password: &str,
    ) -> Response {
        let to = goal.map_or(Goal::Start, Goal::Authorize);
        let page = login_page::page(server.login_form(), &self.get("/login"), to).await;
        let page = page.unwrap();
        self.keep(&page);
        let seal = value(&page, "seal");
        let form = [
            ("request", goal.unwrap_or_default()),
            ("seal", &seal),
            ("name", "alice"),
            ("password", password),
        ];
        let answer = ask(server, &self.post("/login", &form)).await;
        self.keep(&answer);
        answer
    }
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

/// The value of the first hidden field of this name.
fn value(response: &Response, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let (_, rest) = text(response)
        .split_once(&mark)
        .expect("the page has the field");
    rest.split('"').next().unwrap().to_owned()
}

fn location(response: &Response) -> &str {
    assert_eq!(
        response.status(),
        StatusCode::SEE_OTHER,
        "{}",
        text(response)
    );
    response.headers()[LOCATION].to_str().unwrap()
}

/// The code of a setup that was just offered.
async fn offered(server: &AuthorizationServer) -> String {
    let now = server.clock.now();
    let code = SetupCode::offer(&server.records, now, &mut OsRng).await;
    code.unwrap().unwrap().reveal().to_owned()
}
