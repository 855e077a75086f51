//! What `gateway serve` prints on standard output: what it did, and what to do next; then each backend
//! as it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::OsRng;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::app::App;
use crate::config::{CertificateSource, Config};
use crate::tls::certificate::Certificate;
use crate::tls::settings::AcmeSettings;
use crate::tunnel::Tunnel;
use gateway_core::policy::{Coverage, Operation, ScopeTable, ScopedTools};
use gateway_core::protocol::scope::Scope;
use gateway_oauth::identity::{SETUP_LIFETIME, SetupCode};
use gateway_store::{StoreError, StoreUrl};
use gateway_upstream::{Address, Backend, BackendStatus, Lookout, Observation, Tool, ToolListing};

/// How long a backend may take until the list says that it has not answered yet.
const PENDING: Duration = Duration::from_secs(3);

/// Prints what is known without asking any backend: whether this start made the keys, the certificate in
/// files, where https is served with one, and the tunnel that leads here.
pub(super) async fn print(
    config: &Config,
    app: &App,
    keys_created: bool,
    certificate: Option<&Certificate>,
    tunnel: Option<&Tunnel>,
) -> Result<(), StoreError> {
    println!("{} {}", config.general.title, env!("CARGO_PKG_VERSION"));
    print_state(config, keys_created);
    print_https(config, certificate);
    if let Some(tunnel) = tunnel {
        print_tunnel(tunnel);
    }
    print_urls(config);
    print_setup(config, app).await
}

/// Prints a line for each backend as it answers, or does not; then what the scopes say of tools that
/// are not there.
pub(super) async fn fill_in(
    scopes: ScopeTable,
    backends: Vec<Arc<Backend>>,
    lookout: Arc<Lookout>,
) {
    let (offers, mut answered) = mpsc::channel(backends.len().max(1));
    for (at, backend) in backends.iter().enumerate() {
        let Some(standing) = lookout.watch(at) else {
            continue;
        };
        tokio::spawn(follow(at, Arc::clone(backend), standing, offers.clone()));
    }
    drop(offers);
    let mut known: Vec<Option<Arc<ToolListing>>> = vec![None; backends.len()];
    let mut told = BTreeSet::new();
    while let Some((at, offer)) = answered.recv().await {
        known[at] = Some(offer);
        let names = backends
            .iter()
            .map(|backend| backend.mount.name.as_str())
            .zip(known.iter().cloned());
        for note in scope_notes(&scopes, &names.collect::<Vec<_>>()) {
            if told.insert(note.clone()) {
                log::warn!(event = "scope_doubtful"; "{note}");
                println!("! scopes     {note}");
            }
        }
    }
}

/// Prints how a backend stands whenever that changes, until it has answered once. What happens to it
/// later is in the log.
async fn follow(
    at: usize,
    backend: Arc<Backend>,
    mut standing: watch::Receiver<BackendStatus>,
    offers: mpsc::Sender<(usize, Arc<ToolListing>)>,
) {
    let mut last = String::new();
    let mut say = |line: String| {
        if line != last {
            println!("{line}");
        }
        last = line;
    };
    let place = format!("{} at {}", backend.mount.name, backend.mount.mcp_path());
    let mut patience = PENDING;
    loop {
        let seen = standing.borrow_and_update().seen.clone();
        match seen {
            Observation::Answers(offer) => {
                say(answers(&place, &offer));
                let _ = offers.send((at, offer)).await;
                return;
            }
            Observation::AsksWhoCalls => {
                say(format!(
                    "✓ backend    {place} → asks who calls: it is called with everybody's own account"
                ));
                return;
            }
            Observation::Failed(error) => {
                say(format!(
                    "! backend    {place}: {error}. It is asked again until it answers; if this stays, {}",
                    remedy(&backend)
                ));
            }
            Observation::Pending => {}
        }
        match timeout(patience, standing.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                patience = Duration::MAX;
                if matches!(standing.borrow().seen, Observation::Pending) {
                    say(format!(
                        "… backend    {place}: no answer yet. It may still be starting; nothing else waits for it"
                    ));
                }
            }
        }
    }
}

/// What to look at where a backend does not answer.
fn remedy(backend: &Backend) -> String {
    if backend.is_on_stdio {
        return "try its command by itself".to_owned();
    }
    if backend.aggregate.is_some() {
        return "see what is said of its members".to_owned();
    }
    let (host, path) = (&backend.host, &backend.mcp_path);
    let place = match &backend.address {
        Address::Tcp { tls: false, .. } => format!("http://{host}{path}"),
        Address::Tcp { tls: true, .. } => format!("https://{host}{path}"),
        Address::Unix(socket) => format!("{path} of unix:{}", socket.display()),
        Address::Within => path.clone(),
    };
    format!("check that an MCP server runs at {place} (`url` and `mcp_path`)")
}

fn answers(place: &str, offer: &ToolListing) -> String {
    let tools = offer.tools.iter().take(8).map(|tool| tool.name.as_str());
    let doubled: Vec<&str> = offer.doubled.iter().take(8).map(String::as_str).collect();
    let doubled = if doubled.is_empty() {
        String::new()
    } else {
        format!(
            "; two tools of one name, not offered: {}",
            doubled.join(", ")
        )
    };
    let unfit = offer.unfit.iter();
    let unfit = unfit
        .map(|unfit| format!("\n! tool       {place} lists one that can't be offered: {unfit}"));
    format!(
        "✓ backend    {place} → {} {} ({} tools: {}{doubled}){}",
        offer.name,
        offer.version,
        offer.tools.len(),
        tools.collect::<Vec<_>>().join(", "),
        unfit.collect::<String>()
    )
}

fn print_state(config: &Config, keys_created: bool) {
    match &config.store {
        StoreUrl::Memory => {
            println!("! state      in memory only: every connection ends with this process")
        }
        url => println!("✓ state      {url}"),
    }
    println!(
        "✓ keys       {} ({})",
        config.keys_dir.display(),
        if keys_created {
            "made now; keep them"
        } else {
            "kept"
        }
    );
}

/// What the scopes say of tools that are not there, and the tools that no scope covers. Only about
/// backends that answered.
fn scope_notes(scopes: &ScopeTable, offers: &[(&str, Option<Arc<ToolListing>>)]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut found: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for (backend, offer) in offers {
        let scopes = scopes.at(backend);
        for rule in scopes.rules() {
            let ScopedTools::Named(patterns) = &rule.tools else {
                continue;
            };
            for pattern in patterns {
                let is_there = offer
                    .as_ref()
                    .is_none_or(|offer| offer.tools.iter().any(|tool| pattern.matches(&tool.name)));
                let key = (rule.name.as_str(), pattern.as_str());
                *found.entry(key).or_default() |= is_there;
            }
        }
        let uncovered = |tool: &&Tool| {
            let operation = Operation::Tool {
                name: &tool.name,
                reads_only: tool.annotations.read_only_hint == Some(true),
            };
            scopes.coverage(&Scope::default(), operation) == Coverage::Never
        };
        let tools = offer.iter().flat_map(|offer| &offer.tools);
        let names: Vec<&str> = tools
            .filter(uncovered)
            .map(|tool| tool.name.as_str())
            .collect();
        if !names.is_empty() {
            let names = names.join(", ");
            notes.push(format!(
                "no scope covers {names} of {backend}: nobody can be granted them"
            ));
        }
    }
    let absent = found.iter().filter(|(_, is_there)| !**is_there);
    notes.extend(absent.map(|((scope, pattern), _)| {
        format!("scope {scope} names the tool {pattern}, which no backend has")
    }));
    notes
}

fn print_tunnel(tunnel: &Tunnel) {
    println!(
        "✓ tunnel     {} leads {} here, for as long as this runs",
        tunnel.kind.name(),
        tunnel.url
    );
    for limit in tunnel.kind.limits() {
        println!("! tunnel     {limit}");
    }
}

fn print_https(config: &Config, certificate: Option<&Certificate>) {
    let Some(tls) = &config.tls else {
        return;
    };
    match (&tls.source, certificate) {
        (
            CertificateSource::Acme(AcmeSettings {
                name, directory, ..
            }),
            _,
        ) => {
            println!("✓ https      {name}, with a certificate from {directory}");
        }
        (CertificateSource::Files(_), Some(Certificate { facts, .. })) => {
            let names = facts.names.join(", ");
            println!(
                "✓ https      {names}, with a certificate until {}",
                facts.ends
            );
        }
        (CertificateSource::Files(_), None) => {}
    }
}

fn print_urls(config: &Config) {
    let issuer = &config.issuer;
    if issuer.is_loopback() && config.tls.is_none() {
        let port = config
            .general
            .listen
            .first()
            .map_or(8080, |address| address.port());
        println!(
            "! public URL {issuer}: only programs on this machine reach it, ChatGPT does not."
        );
        println!("             Put an https tunnel or reverse proxy in front, for example");
        println!("               cloudflared tunnel --url http://localhost:{port}");
        println!(
            "             and start again with --public-url and the https URL that it prints."
        );
    } else {
        println!("✓ public URL {issuer}");
    }
    for configured in &config.backends {
        let mount = &configured.backend.mount;
        println!(
            "→ ChatGPT: Plugins → + → Add custom MCP server → {} → OAuth   ({})",
            issuer.join(&mount.mcp_path()),
            mount.name
        );
    }
}

async fn print_setup(config: &Config, app: &App) -> Result<(), StoreError> {
    let (records, now) = (&app.server.records, app.server.clock.now());
    let offered = SetupCode::offer(records, now, &mut OsRng).await?;
    if let Some(code) = offered {
        println!(
            "→ Set the owner: {}   (valid {} minutes, 5 tries; a restart prints a new one)",
            config
                .issuer
                .join(&format!("/setup?code={}", code.reveal())),
            SETUP_LIFETIME.as_secs() / 60
        );
    }
    Ok(())
}
