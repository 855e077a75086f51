//! Everything that runs during the rounds, and their order.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::gateways::{self, Gateway, Setup};
use crate::jwt::Issuer;
use crate::placement::Placement;
use crate::programs::{self, Listening};
use crate::report::{DIRECT, GATEWAY, HAPROXY, NGINX};
use crate::streams::{self, Held, Relay};
use crate::subject::{Loads, Sample, Subject};
use crate::wire::Call;

const MCP_BACKEND: &str = "mcp-backend, direct";
const GATEWAY_MCP_BACKEND: &str = "mcp-backend, gateway";
/// Where the gateway mounts `mcp-backend`.
const DOCUMENTS: &str = "/documents";

/// The programs, and the ways to reach a backend through them.
pub(crate) struct Rig<'a> {
    light: Listening,
    documents: Listening,
    nginx: Listening,
    haproxy: Listening,
    jwt: String,
    /// With a token for the light backend.
    gateway: Option<(Gateway<'a>, String)>,
    subjects: Vec<Subject>,
}

/// How a rig is built.
pub(crate) struct Plan<'a> {
    /// For configuration, state and logs.
    pub(crate) folder: &'a Path,
    /// Which processors are whose.
    pub(crate) placement: &'a Placement,
    /// Worker threads of every proxy.
    pub(crate) threads: usize,
    /// Whether the gateway takes part.
    pub(crate) gateway: bool,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

impl<'a> Plan<'a> {
    /// Of a gateway in front of this backend.
    pub(crate) fn setup(&self, name: &'a str, backend: SocketAddr) -> Setup<'a> {
        let proxies = self.placement.proxies.as_deref();
        Setup::new(name, self.folder, proxies, self.threads, backend)
    }
}

impl<'a> Rig<'a> {
    /// Start everything, and make sure that whoever is to check tokens checks them.
    pub(crate) async fn start(plan: &Plan<'a>) -> Result<Self> {
        let (folder, threads) = (plan.folder, plan.threads);
        let proxies = plan.placement.proxies.as_deref();
        let rest = plan.placement.rest.as_deref();
        let issuer = Issuer::new(plan.now);
        let light = programs::light_backend(folder, rest).await?;
        let nginx = programs::nginx(folder, proxies, threads, light.address).await?;
        let key = issuer.public_key()?;
        let haproxy = programs::haproxy(folder, proxies, threads, light.address, &key).await?;
        let mut rig = Rig {
            documents: programs::mcp_backend(folder, rest).await?,
            light,
            nginx,
            haproxy,
            jwt: issuer.token(),
            gateway: None,
            subjects: Vec::new(),
        };
        rig.add_plain(&issuer).await?;
        if plan.gateway {
            rig.add_gateway(plan).await?;
        }
        rig.add_mcp_backend().await?;
        Ok(rig)
    }

    /// Every subject once a round, one after the other, so that all see the same drift of the machine.
    pub(crate) async fn measure(
        &self,
        rounds: usize,
        loads: Loads,
    ) -> Result<Vec<(&'static str, Vec<Sample>)>> {
        let mut measured: Vec<(&'static str, Vec<Sample>)> = Vec::new();
        for subject in &self.subjects {
            subject.warm_up(loads).await?;
            measured.push((subject.name, Vec::new()));
        }
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds}");
            for (subject, (_, samples)) in self.subjects.iter().zip(&mut measured) {
                samples.push(subject.measure(loads).await?);
            }
        }
        Ok(measured)
    }

    /// Idle streams through each proxy; the gateway as a fresh process, without what the
    /// login's password hash and the load left in its heap.
    pub(crate) async fn hold_streams(&mut self, count: usize) -> Result<Vec<Held>> {
        if let Some((gateway, token)) = self.gateway.take() {
            self.gateway = Some((gateway.restart().await?, token));
        }
        let mut relays = vec![
            relay(NGINX, &self.nginx, &self.jwt)?,
            relay(HAPROXY, &self.haproxy, &self.jwt)?,
        ];
        if let Some((gateway, token)) = &self.gateway {
            relays.push(relay(GATEWAY, &gateway.listening, token)?);
        }
        let held = streams::hold(&relays, count).await?;
        for relay in held.iter().filter(|relay| relay.name == GATEWAY) {
            ensure!(
                relay.kept_alive == relay.streams,
                "keep-alives came on {} of {} streams",
                relay.kept_alive,
                relay.streams
            );
        }
        Ok(held)
    }

    /// End every program.
    pub(crate) async fn end(self) {
        if let Some((gateway, _)) = self.gateway {
            gateway.listening.end().await;
        }
        for listening in [self.haproxy, self.nginx, self.documents, self.light] {
            listening.end().await;
        }
    }

    async fn add_plain(&mut self, issuer: &Issuer) -> Result<()> {
        let backend = self.light.id()?;
        for (name, address, proxy) in [
            (DIRECT, self.light.address, None),
            (NGINX, self.nginx.address, Some(self.nginx.id()?)),
            (HAPROXY, self.haproxy.address, Some(self.haproxy.id()?)),
        ] {
            self.subjects.push(Subject {
                name,
                address,
                call: call("/mcp", address, &self.jwt, None),
                proxy,
                backend,
                connections: None,
            });
        }
        let haproxy = &self.subjects[2];
        for (why, token) in issuer.spoilt() {
            let call = call("/mcp", haproxy.address, &token, None);
            haproxy.expect_refusal(&call, why).await?;
        }
        Ok(())
    }

    async fn add_gateway(&mut self, plan: &Plan<'a>) -> Result<()> {
        let mut setup = plan.setup("gateway", self.light.address);
        setup.backends.push((DOCUMENTS, self.documents.address));
        let gateway = Gateway::start(setup).await?;
        let token = gateway.token("/").await?;
        let address = gateway.listening.address;
        let subject = Subject {
            name: GATEWAY,
            address,
            call: call("/mcp", address, &token, None),
            proxy: Some(gateway.listening.id()?),
            backend: self.light.id()?,
            connections: None,
        };
        let foreign = call("/mcp", address, &self.jwt, None);
        subject
            .expect_refusal(&foreign, "that it did not issue")
            .await?;
        self.subjects.push(subject);
        self.gateway = Some((gateway, token));
        Ok(())
    }

    async fn add_mcp_backend(&mut self) -> Result<()> {
        let backend = self.documents.id()?;
        let mut ways = vec![(
            MCP_BACKEND,
            self.documents.address,
            "/mcp".to_owned(),
            self.jwt.clone(),
            None,
        )];
        if let Some((gateway, _)) = &self.gateway {
            ways.push((
                GATEWAY_MCP_BACKEND,
                gateway.listening.address,
                format!("{DOCUMENTS}/mcp"),
                gateway.token(DOCUMENTS).await?,
                Some(gateway.listening.id()?),
            ));
        }
        for (name, address, path, token, proxy) in ways {
            let session = gateways::session(&format!("http://{address}{path}"), &token).await?;
            self.subjects.push(Subject {
                name,
                address,
                call: call(&path, address, &token, Some(&session)),
                proxy,
                backend,
                connections: None,
            });
        }
        Ok(())
    }
}

fn call(path: &str, address: SocketAddr, token: &str, session: Option<&str>) -> Call {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("Authorization", bearer.as_str())];
    headers.extend(session.map(|id| ("Mcp-Session-Id", id)));
    Call::search(path, &address.to_string(), &headers)
}

fn relay<'t>(name: &'static str, listening: &Listening, token: &'t str) -> Result<Relay<'t>> {
    Ok(Relay {
        name,
        address: listening.address,
        host: listening.address.to_string(),
        id: listening.id()?,
        token,
    })
}
