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
    "procd",
];

/// Whether a container ends with this process: as its first one, or as the one that its first one (`tini`,
/// `podman-init`, a shell) waits for.
pub(super) fn ends_with_container(manager: &Notifier) -> bool {
    let parent = rustix::process::getppid().map(rustix::process::Pid::as_raw_nonzero);
    let is_waited_for = || {
        // On a machine that hides processes of others the first one has no name here.
        let first = std::fs::read_to_string("/proc/1/comm");
        first.is_ok_and(|first| waits_for_one(&first))
    };
    std::process::id() == 1
        || (parent.is_some_and(|parent| parent.get() == 1)
            && !manager.is_listened_to()
            && is_waited_for())
}

/// Whether a first process of this name ends with the one that it waits for.
fn waits_for_one(first: &str) -> bool {
    !SYSTEMS.iter().any(|name| first.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inits_of_containers_and_shells_wait_for_one_process_and_systems_do_not() {
        for first in [
            "tini",
            "docker-init",
            "podman-init",
            "catatonit",
            "sh",
            "entrypoint.sh",
        ] {
            assert!(waits_for_one(first), "{first}");
        }
        for first in [
            "systemd\n",
            "init",
            "init(Debian)",
            "runit",
            "s6-svscan",
            "procd",
        ] {
            assert!(!waits_for_one(first), "{first}");
        }
    }
}
