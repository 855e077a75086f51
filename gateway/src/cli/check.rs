//! `gateway check`: what is in force and where it was written, and what is unsafe around it as far as
//! that can be seen from here.

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::configuration::Configuration;
use crate::cli::failed::Failed;
use crate::config::{self, Config};
use crate::environment;
use crate::server;
use crate::tls::files;
use gateway_core::clock::Clock;
use gateway_store::{Examined, StoreUrl};

/// A store that takes longer is not there, which is no matter of the configuration.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(configuration: &Configuration) -> Result<ExitCode, Failed> {
    let layers = configuration.layers();
    let lines = config::printed(&layers);
    let width = lines.iter().map(|(path, ..)| path.len()).max().unwrap_or(0);
    for (path, value, origin) in &lines {
        println!("{path:width$} = {value}  # {origin}");
    }
    surroundings(&config::resolve(&layers)?)
}

/// Nothing is made and nothing is changed: a check may run beside the gateway, or before it.
fn surroundings(config: &Config) -> Result<ExitCode, Failed> {
    server::lane_of_environment().map_err(Failed::usage)?;
    let certificate = files::configured(config, Clock.now()).transpose();
    let certificate = certificate.map_err(Failed::usage)?;
    let found = examined(config).unwrap_or_default();
    if let Some(sentence) = &found.away {
        eprintln!("warning: `store.url` does not answer: {sentence}");
    }
    let dangers = found
        .unsafe_settings
        .into_iter()
        .chain(environment::readable_by_others(&config.keys_dir))
        .chain(environment::no_way_in_alone(
            config.general.password_login,
            config.owner.is_some(),
        ))
        .chain(environment::certificate_doubts(
            config,
            certificate.as_ref(),
        ))
        .chain(environment::clock(None, Clock.now()));
    for sentence in dangers {
        eprintln!("warning: unsafe: {sentence}");
    }
    match found.hopeless {
        None => Ok(ExitCode::SUCCESS),
        Some(sentence) => Err(Failed::usage(format!("`store.url` {sentence}"))),
    }
}

/// Only of a server: a folder is locked by the gateway that uses it.
fn examined(config: &Config) -> Option<Examined> {
    if !matches!(config.store, StoreUrl::Redis(_)) {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .ok()?;
    let store = gateway_store::open(&config.store, runtime.handle()).ok()?;
    let examining = async { tokio::time::timeout(PATIENCE, store.examine()).await };
    runtime.block_on(examining).ok()
}
