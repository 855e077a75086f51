//! One request to the admin listener of a running gateway, by the address and the token that its
//! configuration names.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Printed;
use super::table::cell;
use crate::admin::front_door::reachable;
use crate::cli::failed::{FORBIDDEN, Failed, UNAVAILABLE, UNKNOWN, USAGE};
use crate::cli::runtime;
use crate::config::Config;
use crate::keys::{self, KeysError};
use crate::operator_api::{Endpoint, Query, Refusal};
use gateway_core::secret::Secret;

/// To connect.
const CONNECT: Duration = Duration::from_secs(3);
/// For the whole answer: taking back thousands of grants takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// A page of a list is far smaller.
const LARGEST: usize = 16 * 1024 * 1024;

/// What came of a request that was done.
pub(in crate::cli) struct Answered<E: Endpoint> {
    /// As it came, for those who want JSON.
    pub(in crate::cli) body: Value,
    /// The same, read.
    pub(in crate::cli) answer: E::Answer,
}

/// A running gateway.
pub(in crate::cli) struct Gateway {
    address: SocketAddr,
    token: Secret,
}

impl Gateway {
    /// The one that runs with this configuration.
    pub(in crate::cli) fn from_config(config: &Config) -> Result<Self, Failed> {
        let token = keys::admin_token(&config.keys_dir).map_err(|error| match error {
            KeysError::Io(path, error) if error.kind() == std::io::ErrorKind::NotFound => {
                let sentence = format!(
                    "there is no {}: start the gateway once with this configuration, or name the one that it runs with (--config)",
                    path.display()
                );
                Failed::new(FORBIDDEN, sentence)
            }
            error => Failed::new(FORBIDDEN, error),
        })?;
        Ok(Self {
            address: reachable(config.general.admin_listen),
            token,
        })
    }

    /// Asks for something.
    pub(in crate::cli) fn get<E: Endpoint<Request: Query>>(
        &self,
        query: &E::Request,
    ) -> Result<Answered<E>, Failed> {
        let mut parameters = url::form_urlencoded::Serializer::new(String::new());
        parameters.extend_pairs(query.parameters());
        let target = format!("{}?{}", E::OPERATION.path(), parameters.finish());
        self.ask(Method::GET, &target, Bytes::new())
    }

    /// Has something done.
    pub(in crate::cli) fn post<E: Endpoint<Request: Serialize>>(
        &self,
        request: &E::Request,
    ) -> Result<Answered<E>, Failed> {
        let body = serde_json::to_vec(request).map_err(Failed::usage)?;
        self.ask(Method::POST, E::OPERATION.path(), body.into())
    }

    /// Has something done of which there is nothing to say but that it was.
    pub(in crate::cli) fn done<E: Endpoint<Request: Serialize>>(
        &self,
        request: &E::Request,
        sentence: impl Into<String>,
    ) -> Result<Printed, Failed> {
        let body = self.post::<E>(request)?.body;
        Ok(Printed::sentence(body, sentence))
    }

    fn ask<E: Endpoint>(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Answered<E>, Failed> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.token.reveal()))
            .header(CONTENT_TYPE, "application/json")
            .header("operator", operator())
            .body(Full::new(body))
            .map_err(Failed::usage)?;
        let runtime = runtime().map_err(Failed::unavailable)?;
        let asking = async { timeout(PATIENCE, exchange(self.address, request)).await };
        let (status, body) = runtime.block_on(asking).unwrap_or_else(|_| {
            let sentence = format!("{}: no answer within {PATIENCE:?}", self.address);
            Err(Failed::unavailable(sentence))
        })?;
        judged(self.address, status, &body)
    }
}

/// What an answer says. Another program may listen on that address by now, and whatever it answers
/// is neither done nor refused.
fn judged<E: Endpoint>(
    address: SocketAddr,
    status: StatusCode,
    body: &[u8],
) -> Result<Answered<E>, Failed> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let is_ours = body
        .get(E::OPERATION.holds())
        .is_some_and(|value| !value.is_null());
    match status {
        StatusCode::OK if is_ours => match E::Answer::deserialize(&body) {
            Ok(answer) => Ok(Answered { body, answer }),
            Err(error) => Err(Failed::unavailable(format!(
                "the gateway's answer can't be read: {error}; is it of another version?"
            ))),
        },
        StatusCode::OK => Err(not_ours(address, status)),
        status => match Refusal::deserialize(&body) {
            Ok(refusal) if body.is_object() => Err(refused(status, &refusal)),
            _ => Err(not_ours(address, status)),
        },
    }
}

/// What the gateway answered instead of doing it.
fn refused(status: StatusCode, refusal: &Refusal) -> Failed {
    let code = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FORBIDDEN,
        status if status.is_server_error() => UNAVAILABLE,
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::METHOD_NOT_ALLOWED => USAGE,
        _ => UNKNOWN,
    };
    let mut sentence = cell(&refusal.message, 300);
    if let Some(remedy) = &refusal.remedy {
        sentence += &format!("\n  {}", cell(remedy, 300));
    }
    Failed::new(code, sentence)
}

fn not_ours(address: SocketAddr, status: StatusCode) -> Failed {
    Failed::unavailable(format!(
        "what answers at {address} (admin_listen) with {status} is not this gateway\n  Is another program listening there?"
    ))
}

async fn exchange(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Failed> {
    let away = |error: &dyn std::fmt::Display| {
        Failed::unavailable(format!(
            "no gateway answers at {address} (admin_listen): {error}\n  Is it running, with this configuration?"
        ))
    };
    let stream = match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(away(&error)),
        Err(_) => return Err(away(&format!("not connected within {CONNECT:?}"))),
    };
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| away(&error))?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await;
    let response = response.map_err(|error| away(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    connection.abort();
    let body = body.map_err(|error| away(&error))?;
    Ok((status, body.to_bytes()))
}

/// Who types the command, for the audit log. A claim: whoever has the token could say anything.
fn operator() -> String {
    let said = ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let said = said.unwrap_or_else(|| format!("uid-{}", rustix::process::getuid().as_raw()));
    said.chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator_api::{DisableUser, RevokeGrants};

    #[test]
    fn only_an_answer_of_the_gateway_counts_as_done_or_refused() {
        let judged = |status: u16, body: &str| {
            let address = ([127, 0, 0, 1], 9090).into();
            let status = StatusCode::from_u16(status).unwrap();
            judged::<RevokeGrants>(address, status, body.as_bytes())
        };
        assert!(judged(200, "{\"revoked\":0}").is_ok());
        for (status, body) in [
            (200, ""),
            (200, "ok\n"),
            (200, "null"),
            (200, "[]"),
            (200, "[{\"revoked\":1}]"),
            (200, "{}"),
            (200, "{\"revoked\":null}"),
            (200, "{\"status\":\"success\"}"),
            (201, "{\"revoked\":1}"),
            (302, ""),
            (401, "<html>log in</html>"),
            (404, "404 page not found\n"),
            (404, "{\"message\":\"Not Found\"}"),
        ] {
            let failed = judged(status, body).err().unwrap();
            assert_eq!(failed.code, UNAVAILABLE, "{status} {body}");
        }
        let refused = "{\"error\":\"not_found\",\"message\":\"there is no grant\"}";
        assert_eq!(judged(404, refused).err().unwrap().code, 1);
        assert_eq!(judged(401, refused).err().unwrap().code, 77);
        assert_eq!(judged(422, refused).err().unwrap().code, 64);
        assert_eq!(judged(503, refused).err().unwrap().code, 69);
    }

    #[test]
    fn a_count_that_is_missing_or_no_number_is_not_none() {
        let address = ([127, 0, 0, 1], 9090).into();
        for body in ["{\"revoked\":\"2\"}", "{\"revoked\":-1}"] {
            let judged = judged::<RevokeGrants>(address, StatusCode::OK, body.as_bytes());
            assert!(judged.is_err(), "{body}");
        }
        let user = "{\"user\":{\"id\":\"u\",\"name\":\"n\",\"owner_of_configuration\":false,\"created\":\"\"}}";
        let judged = judged::<DisableUser>(address, StatusCode::OK, user.as_bytes());
        let answer = judged.ok().unwrap().answer;
        assert!(crate::cli::operator::counted(answer.revoked, "grant").is_err());
    }
}
