//! One request to the admin listener of a running gateway, by the address and the token that its
//! configuration names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Failed;
use crate::config::Config;
use crate::keys::{self, KeysError};
use gateway_core::secret::Secret;

/// To connect.
const CONNECT: Duration = Duration::from_secs(3);
/// For the whole answer: taking back thousands of grants takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// A page of a list is far smaller.
const LARGEST: usize = 16 * 1024 * 1024;

/// A running gateway.
pub(in crate::cli) struct Gateway {
    address: SocketAddr,
    token: Secret,
}

impl Gateway {
    /// The one that runs with this configuration.
    pub(super) fn of(config: &Config) -> Result<Self, Failed> {
        let token = keys::admin_token(&config.keys_dir).map_err(|error| match error {
            KeysError::Io(path, error) if error.kind() == std::io::ErrorKind::NotFound => {
                Failed::forbidden(format!(
                    "there is no {}: start the gateway once with this configuration, or name the one that it runs with (--config)",
                    path.display()
                ))
            }
            error => Failed::forbidden(error.to_string()),
        })?;
        Ok(Self {
            address: reachable(config.admin_listen),
            token,
        })
    }

    /// Asks for something: an object with the member `holds`.
    pub(in crate::cli) fn get(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        holds: &str,
    ) -> Result<Value, Failed> {
        let mut parameters = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in query {
            if let Some(value) = value {
                parameters.append_pair(name, value);
            }
        }
        let target = format!("{path}?{}", parameters.finish());
        self.ask(Method::GET, &target, Bytes::new(), holds)
    }

    /// Has something done, which is told in an object with the member `holds`.
    pub(in crate::cli) fn post(
        &self,
        path: &str,
        body: &Value,
        holds: &str,
    ) -> Result<Value, Failed> {
        self.ask(Method::POST, path, body.to_string().into(), holds)
    }

    fn ask(&self, method: Method, target: &str, body: Bytes, holds: &str) -> Result<Value, Failed> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.token.reveal()))
            .header(CONTENT_TYPE, "application/json")
            .header("operator", operator())
            .body(Full::new(body))
            .map_err(|error| Failed::usage(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failed::unavailable(error.to_string()))?;
        let asking = async { timeout(PATIENCE, exchange(self.address, request)).await };
        let (status, body) = runtime.block_on(asking).unwrap_or_else(|_| {
            let sentence = format!("{}: no answer within {PATIENCE:?}", self.address);
            Err(Failed::unavailable(sentence))
        })?;
        judged(self.address, status, &body, holds)
    }
}

/// What an answer says. Another program may listen on that address by now, and whatever it answers
/// is neither done nor refused.
fn judged(
    address: SocketAddr,
    status: StatusCode,
    body: &[u8],
    holds: &str,
) -> Result<Value, Failed> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let is_ours = |member: &str| body.get(member).is_some_and(|value| !value.is_null());
    match status {
        StatusCode::OK if is_ours(holds) => Ok(body),
        status if status != StatusCode::OK && is_ours("error") && is_ours("message") => {
            Err(Failed::answered(status, &body))
        }
        status => Err(Failed::unavailable(format!(
            "what answers at {address} (admin_listen) with {status} is not this gateway\n  Is another program listening there?"
        ))),
    }
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

/// An address that is listened on everywhere is asked on loopback.
pub(in crate::cli) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
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

    #[test]
    fn only_an_answer_of_the_gateway_counts_as_done_or_refused() {
        let judged = |status: u16, body: &str| {
            let address = ([127, 0, 0, 1], 9090).into();
            let status = StatusCode::from_u16(status).unwrap();
            judged(address, status, body.as_bytes(), "revoked")
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
            let failed = judged(status, body).unwrap_err();
            assert_eq!(failed.code, crate::cli::UNAVAILABLE, "{status} {body}");
        }
        let refused = "{\"error\":\"not_found\",\"message\":\"there is no grant\"}";
        assert_eq!(judged(404, refused).unwrap_err().code, 1);
        assert_eq!(judged(401, refused).unwrap_err().code, 77);
        assert_eq!(judged(422, refused).unwrap_err().code, 64);
        assert_eq!(judged(503, refused).unwrap_err().code, 69);
    }

    #[test]
    fn a_count_that_is_missing_is_not_none() {
        use super::super::counted;
        let body = serde_json::json!({ "revoked": 1, "closed": "2" });
        assert_eq!(counted(&body, "revoked", "grant").unwrap(), "1 grant");
        for member in ["closed", "removed"] {
            assert!(counted(&body, member, "grant").is_err(), "{member}");
        }
    }
}
