//! What `gateway serve` prints on standard output: what it did, and what to do next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::OsRng;
use tokio::time::sleep;

use crate::app::App;
use crate::backend::{Backend, Offer, Tool};
use crate::config::Config;
use crate::identity::SETUP_LIFETIME;
use crate::policy::{Coverage, Operation, ScopeTable, ScopedTools};
use crate::protocol::scope::Scope;
use crate::store::{StoreError, StoreUrl};

/// Prints the summary. `patience`: how long a backend that was just started may take to answer.
pub(super) async fn print(
    config: &Config,
    app: &App,
    keys_created: bool,
    patience: Duration,
) -> Result<(), StoreError> {
    println!("{} {}", config.title, env!("CARGO_PKG_VERSION"));
    print_state(config, keys_created);
    let mut offers = Vec::new();
    for configured in &config.backends {
        let patience = if configured.command.is_empty() {
            Duration::ZERO
        } else {
            patience
        };
        let (line, offer) = backend(app, &configured.backend, patience).await;
        println!("{line}");
        offers.push((configured.backend.mount.name.as_str(), offer));
    }
    for note in scope_notes(&config.scopes, &offers) {
        log::warn!(event = "scope_doubtful"; "{note}");
        println!("! scopes     {note}");
    }
    print_urls(config);
    print_setup(config, app).await
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

async fn backend(app: &App, backend: &Backend, patience: Duration) -> (String, Option<Arc<Offer>>) {
    let name = &backend.mount.name;
    let started = Instant::now();
    loop {
        match app.catalogue.offer(name, None).await {
            Ok(offer) => {
                let line = format!(
                    "✓ backend    {name} at {} → {} {} ({} tools: {})",
                    backend.mount.mcp_path(),
                    offer.name,
                    offer.version,
                    offer.tools.len(),
                    offer
                        .tools
                        .iter()
                        .take(8)
                        .map(|tool| tool.name.as_str())
                        .collect::<Vec<_>>()
                        .join(", ")
                );
                return (line, Some(offer));
            }
            Err(error) if started.elapsed() >= patience => {
                let line = format!(
                    "! backend    {name} at {}: {error}. It is asked again at every call",
                    backend.mount.mcp_path()
                );
                return (line, None);
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// What the scopes say of tools that are not there, and the tools that no scope covers. Only about
/// backends that answered.
fn scope_notes(scopes: &ScopeTable, offers: &[(&str, Option<Arc<Offer>>)]) -> Vec<String> {
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

fn print_urls(config: &Config) {
    let issuer = &config.issuer;
    if issuer.is_loopback() {
        let port = config.listen.first().map_or(8080, |address| address.port());
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
    let offered = app
        .authorization_server
        .setup
        .offer(&app.records, app.clock.now(), &mut OsRng)
        .await?;
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
