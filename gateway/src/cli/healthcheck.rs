//! `gateway healthcheck`: asks the admin listener of a running gateway, without any client program
//! in the image.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, StatusCode};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use tokio::time::timeout;

use crate::admin::front_door::reachable;
use crate::cli::configuration::Configuration;
use crate::cli::failed::Failed;
use crate::cli::runtime;

const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(configuration: &Configuration) -> Result<ExitCode, Failed> {
    let config = configuration.resolve_without_backend()?;
    let address = reachable(config.general.admin_listen);
    let runtime = runtime().map_err(Failed::unavailable)?;
    match runtime.block_on(async { timeout(PATIENCE, ask(address)).await }) {
        Ok(Ok((StatusCode::OK, _))) => return Ok(ExitCode::SUCCESS),
        Ok(Ok((status, body))) => eprintln!("{status}\n{}", body.trim()),
        Ok(Err(error)) => eprintln!(
            "no gateway answers at {address} (admin_listen): {error}\n  Is it running, with this configuration?"
        ),
        Err(_) => eprintln!("{address}: no answer within {} s", PATIENCE.as_secs()),
    }
    Ok(ExitCode::FAILURE)
}

async fn ask(address: SocketAddr) -> pingora::Result<(StatusCode, String)> {
    let connector = Connector::new(None);
    let peer = HttpPeer::new(address, false, String::new());
    let (mut session, _reused) = connector.get_http_session(&peer).await?;
    let mut request = RequestHeader::build(Method::GET, b"/readyz", None)?;
    request.insert_header(http::header::HOST, address.to_string())?;
    session.write_request_header(Box::new(request)).await?;
    session.finish_request_body().await?;
    session.read_response_header().await?;
    let status = session
        .response_header()
        .map_or(StatusCode::BAD_GATEWAY, |header| header.status);
    let mut body = Vec::new();
    while let Some(chunk) = session.read_response_body().await? {
        body.extend_from_slice(&chunk);
        if body.len() > 64 * 1024 {
            break;
        }
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
