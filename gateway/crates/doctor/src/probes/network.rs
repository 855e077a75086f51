//! Name, connections, TLS handshake.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::checks::network::{Network, Tls};
use crate::http_client::{connect, encrypt, resolve, within};
use crate::target::Target;
use crate::trust::expiry;
use gateway_core::clock::Clock;

pub(super) async fn look(target: &Target, tls: Arc<ClientConfig>, patience: Duration) -> Network {
    let host = target.host();
    let addresses = within(patience, resolve(host, target.port())).await;
    let mut connections = Vec::new();
    let mut handshake = None;
    for address in addresses.iter().flatten() {
        let connected = connect(*address, patience / 3).await;
        let outcome = connected.as_ref().map(drop).map_err(Clone::clone);
        connections.push((*address, outcome));
        // One handshake is enough: the name is the same for all addresses.
        if let (Ok(stream), "https", None) = (connected, target.mcp.scheme(), &handshake) {
            let agreed = within(patience, encrypt(tls.clone(), host, stream)).await;
            handshake = Some(agreed.map(|stream| {
                let (_, session) = stream.get_ref();
                let certificates = session.peer_certificates().unwrap_or_default();
                Tls {
                    version: match session.protocol_version() {
                        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
                        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
                        other => format!("{other:?}"),
                    },
                    expires: certificates.first().and_then(|first| expiry(first)),
                }
            }));
        }
    }
    Network {
        addresses,
        connections,
        tls: handshake,
        now: Clock.now(),
    }
}
