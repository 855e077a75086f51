//! Whether a container ends with a process: then nobody can take over from it.

use crate::service_manager::Notifier;

/// What a first process is called that goes on without its children, by the beginning of its name.
const SYSTEMS: [&str; 7] = [
    "systemd",
    "init",
    "openrc-init",
    "runit",
    "s6-svscan",
    "dinit",
    "launchd",
];

/// Whether a container ends with this process: as its first one, or as the one that its first one (`tini`,
/// `podman-init`, a shell) waits for.
pub(super) fn ends_with_container(manager: &Notifier) -> bool {
    let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
    let is_waited_for = || {
        let first = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
        !SYSTEMS.iter().any(|name| first.starts_with(name))
    };
    std::process::id() == 1
        || (parent.is_some_and(|parent| parent.get() == 1)
            && !manager.is_listened_to()
            && is_waited_for())
}
