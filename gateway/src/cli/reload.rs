//! SIGHUP: the policy is read anew, with the groups and networks that it speaks of, and so are the limits
//! of calls and the certificate in files. Streams go on; what is wrong with the new ones leaves the old ones
//! in force.
//!
//! The closing of a terminal sends the same signal. It ends a gateway that runs in it and has nothing to read
//! anew. One that was given a configuration file, a policy or a certificate goes on: it may serve people.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::cli::configuration::Configuration;
use crate::config;
use crate::keys::ring::KeyRing;
use crate::service_manager::Notifier;
use gateway_core::audit::{Event, Record};
use gateway_core::policy::PolicyHandle;
use gateway_core::reason::Reason;
use gateway_store::CallLimits;
use gateway_store::journal::Journal;

/// How often it is looked whether the terminal is there.
const LOOK: Duration = Duration::from_secs(1);

/// What is read anew.
pub(super) struct Reloading {
    /// Where the policy is named.
    pub(super) configuration: Configuration,
    /// The policy in force.
    pub(super) policy: PolicyHandle,
    /// The limits of calls in force.
    pub(super) call_limits: Arc<CallLimits>,
    /// Where it is written down.
    pub(super) journal: Journal,
    /// Has the certificate read anew, where one is served.
    pub(super) certificate: Option<Arc<Notify>>,
    /// The signing keys, whose folder is looked at now.
    pub(super) keys: KeyRing,
    /// Told when it begins and ends.
    pub(super) notifier: Notifier,
}

/// Listens from now on.
pub(super) fn follow(runtime: &Handle, reloading: Reloading) -> anyhow::Result<()> {
    let mut terminal = Terminal::of_process();
    let _entered = runtime.enter();
    let mut hangups = signal(SignalKind::hangup())?;
    runtime.spawn(async move {
        while terminal.outlived_until(hangups.recv()).await.is_some() {
            let has_policy = reloading.configuration.config.is_some()
                || reloading.policy.current().is_some();
            let is_idle = !has_policy && reloading.certificate.is_none();
            if is_idle && terminal.is_closed() {
                log::info!(event = "terminal_closed"; "the terminal was closed, and the gateway ends with it");
                // As if somebody had told it to.
                let _ = kill_process(getpid(), Signal::TERM);
                continue;
            }
            reloading.notifier.reloading();
            reloading.keys.look_again();
            if let Some(certificate) = &reloading.certificate {
                certificate.notify_one();
            }
            let configuration = reloading.configuration.clone();
            let policy = reloading.policy.clone();
            let call_limits = Arc::clone(&reloading.call_limits);
            // Reads files, and may not block what runs here.
            let done = tokio::task::spawn_blocking(move || {
                reload(&configuration, &policy, &call_limits)
            })
            .await;
            let record = done.unwrap_or_else(|error| {
                log::error!(event = "policy_kept", error = error.to_string(); "the policy could not be read; the old one stays in force");
                kept("a fault of the gateway's own".to_owned())
            });
            // That the audit log can't be written is known and told elsewhere.
            let _ = reloading.journal.append(&record);
            reloading.notifier.reloaded();
        }
    });
    Ok(())
}

/// The terminal that the gateway was started in, if it ends with that.
struct Terminal {
    was_there: bool,
}

impl Terminal {
    /// To be asked before anybody listens for the signal.
    fn of_process() -> Self {
        Self {
            was_there: is_in_terminal() && !is_hangup_ignored(),
        }
    }

    /// Waits for a signal. Where the terminal goes without one it was not to be the gateway's end, and no later
    /// signal is because of it.
    async fn outlived_until(&mut self, hangup: impl Future<Output = Option<()>>) -> Option<()> {
        let mut hangup = std::pin::pin!(hangup);
        let mut missed = 0;
        while self.was_there {
            tokio::select! {
                biased;
                came = &mut hangup => return came,
                () = sleep(LOOK) => missed = if is_in_terminal() { 0 } else { missed + 1 },
            }
            // The signal of a shell comes a moment later.
            self.was_there = missed < 3;
        }
        hangup.await
    }

    /// Whether it was there, and is gone.
    fn is_closed(&self) -> bool {
        self.was_there && !is_in_terminal()
    }
}

/// Whether the process has a terminal, wherever its output goes: one that hung up is none any more.
fn is_in_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Whether it was started to outlive its terminal, as by `nohup`: see proc(5) on `SigIgn`.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (Signal::HUP.as_raw() - 1) != 0)
}

/// Puts the policy of the configuration in force, and says how that ended.
fn reload(
    configuration: &Configuration,
    policy: &PolicyHandle,
    call_limits: &CallLimits,
) -> Record {
    let config = match config::resolve(&configuration.layers()) {
        Ok(config) => config,
        Err(problems) => {
            for problem in &problems {
                log::error!(event = "policy_fault", fault = problem.to_string(); "the configuration can't be used");
            }
            let count = problems.len();
            log::error!(event = "policy_kept", faults = count; "the policy was not read anew; the old one stays in force");
            let first = problems.first().map(ToString::to_string);
            return kept(first.unwrap_or_default());
        }
    };
    let statements = config.policy.as_ref().map_or(0, |rules| rules.len());
    let was_there = policy.current().is_some();
    let is_there = config.policy.is_some();
    policy.replace(config.policy);
    call_limits.replace(config.call_limits);
    let detail = match (was_there, is_there) {
        (_, true) => {
            log::info!(event = "policy_reloaded", statements = statements; "the policy was read anew");
            format!("policy reloaded: {statements} statements")
        }
        (true, false) => {
            log::warn!(event = "policy_removed"; "no policy is configured any more; what tokens grant is allowed");
            "policy removed".to_owned()
        }
        (false, false) => {
            log::info!(event = "policy_absent"; "no policy is configured, so there was none to read again");
            "no policy".to_owned()
        }
    };
    Record {
        detail: Some(detail),
        ..Record::new(Event::Operator)
    }
}

fn kept(fault: String) -> Record {
    Record {
        detail: Some(format!("policy kept: {fault}")),
        ..Record::refused(Event::Operator, Reason::PolicyUnreadable, false)
    }
}
