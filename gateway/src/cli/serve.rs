//! `gateway serve`: start, say what was done, serve until told to stop.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rand::rngs::OsRng;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::app::App;
use crate::cli::configuration::Configuration;
use crate::cli::exit::{UNAVAILABLE, USAGE};
use crate::cli::{logging, reload, summary};
use crate::config::Config;
use crate::environment;
use crate::keys;
use crate::server;
use crate::supervisor::{self, Program};
use gateway_core::audit::{Event, Record};
use gateway_oauth::identity::{
    LoginName, PasswordPhc, ensure_owner, forget_former_owner, no_owner,
};
use gateway_oauth::revoke_all::{RevocationSubject, cut_off};

pub(super) fn run(configuration: &Configuration) -> ExitCode {
    let config = match configuration.resolve() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let lane = match server::lane_of_environment() {
        Ok(lane) => lane,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            return ExitCode::from(USAGE);
        }
    };
    let logging = logging::start(config.log.format, config.log.level);
    match start(configuration, &config, lane) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging.flush();
            eprintln!("error: {error:#}");
            ExitCode::from(UNAVAILABLE)
        }
    }
}

fn start(configuration: &Configuration, config: &Config, lane: bool) -> anyhow::Result<()> {
    server::can_listen(config)?;
    let keys = keys::open(&config.keys_dir, &mut OsRng)?;
    let keys_created = keys.created;
    let admin_token = keys::make_admin_token(&config.keys_dir, &mut OsRng)?;
    // Lives as long as the process: the store's connection and the programs beside us run on it.
    // Pingora makes its own runtimes only once it serves.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("background")
        .enable_all()
        .build()?;
    let stop = watch::Sender::new(false);
    let app = runtime.block_on(async {
        let app = App::build(config, keys, runtime.handle()).await?;
        dangers(config, &app).await;
        owner_of_configuration(config, &app).await?;
        start_programs(config, runtime.handle(), &stop).await?;
        summary::print(config, &app, keys_created).await?;
        anyhow::Ok(app)
    })?;
    // Beside all else: nothing waits for a backend.
    runtime.spawn(summary::fill_in(
        config.scopes.clone(),
        app.backends.clone(),
        Arc::clone(&app.lookout),
    ));
    let journal = app.journal.clone();
    reload::follow(
        runtime.handle(),
        configuration,
        app.policy.clone(),
        journal.clone(),
    )?;
    server::serve(config, app, lane, admin_token.map(|token| token.hash()));
    journal.close();
    stop.send_replace(true);
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(())
}

/// What around us endangers what we promise.
async fn dangers(config: &Config, app: &App) {
    let epoch = app.revocations.epoch();
    let store = app.records.store().as_ref();
    let now = app.clock.now();
    let found = environment::dangers(store, &config.keys_dir, epoch.as_ref(), now).await;
    let password_login = config.general.password_login;
    let alone = environment::no_way_in_alone(password_login, config.owner.is_some());
    for sentence in found.into_iter().chain(alone) {
        log::warn!(event = "environment_unsafe"; "{sentence}");
        println!("! unsafe     {sentence}");
    }
}

async fn owner_of_configuration(config: &Config, app: &App) -> anyhow::Result<()> {
    let (records, now) = (&app.records, app.clock.now());
    let Some(owner) = &config.owner else {
        for former in no_owner(records, now).await? {
            log::info!(
                event = "owner_not_configured", user = former.id.as_str();
                "the configuration no longer names {} as owner: a person like others", former.name
            );
        }
        return Ok(());
    };
    let name = LoginName::parse(&owner.name)
        .context("owner.name: 1 to 64 letters, digits or . _ - + @")?;
    let password = PasswordPhc::parse(&owner.password_hash).context("owner.password_hash")?;
    let former = ensure_owner(records, &name, &password, now, &mut OsRng).await?;
    for former in former {
        let cut = cut_off(
            &app.authorization_server,
            RevocationSubject::User(&former.id),
            now,
        )
        .await?;
        if let Some(error) = &cut.unreadable {
            // What can't be read is refused by its moment, and no reason not to serve.
            let reason = error.reason();
            log::error!(
                event = "former_owner_cut_off", reason = reason, hint = reason.remedy(),
                user = former.id.as_str(), grants = cut.grants, cause:% = error;
                "what {} allowed was taken back, but a record that may be theirs can't be read", former.name
            );
        }
        log::warn!(
            event = "former_owner_disabled", user = former.id.as_str(), grants = cut.grants,
            hint = "gateway users enable lets them in again";
            "owner.name is another: {} may no longer log in", former.name
        );
        println!(
            "! owner      {} is no longer the owner and may not log in",
            former.name
        );
        let record = Record {
            user: Some(former.id.as_str().to_owned()),
            detail: Some("owner.name is another: disabled".to_owned()),
            ..Record::new(Event::Operator)
        };
        // Taking access back never waits for the log.
        let _ = app.journal.append_durable(record).await;
        forget_former_owner(records, &former, now).await?;
    }
    Ok(())
}

/// Starts the programs of the backends that have one.
async fn start_programs(
    config: &Config,
    runtime: &Handle,
    stop: &watch::Sender<bool>,
) -> anyhow::Result<()> {
    for configured in &config.backends {
        if configured.command.is_empty() {
            continue;
        }
        let name = configured.backend.mount.name.clone();
        let program = Program {
            name,
            command: configured.command.clone(),
            environment: configured.environment.clone(),
        };
        supervisor::supervise(runtime, program, stop.subscribe())
            .await
            .map_err(|error| {
                anyhow::anyhow!(
                    "backend {}: its `command` can't be started: {error}; a program is looked for beside \
                     the gateway and on the PATH",
                    configured.backend.mount.name
                )
            })?;
    }
    Ok(())
}
