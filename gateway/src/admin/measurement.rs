//! What `/metrics` says of the moment at which it is asked: gauges that nobody keeps up to date, and
//! figures of the process.

use std::fs;
use std::time::Duration;

use super::Admin;
use gateway_core::clock::Timestamp;
use gateway_core::open_files;
use gateway_metrics::Metrics;
use gateway_store::{Sizes, Table};
use gateway_upstream::Observation;

impl Admin {
    /// Sets them all. `sizes`: where the store said them.
    pub(super) fn measure(&self, sizes: Option<&Sizes>, now: Timestamp) {
        let metrics = &self.metrics;
        metrics.build.with([env!("CARGO_PKG_VERSION")]).set(1);
        let age = self.revocations.age(now).as_secs_f64();
        metrics.revocations_age.set([], age);
        let state = self.certificate.as_ref().map(|status| status.state());
        if let Some(facts) = state.and_then(|state| state.served) {
            let ends = Duration::from_secs(facts.ends.secs()).as_secs_f64();
            metrics.certificate_end.set([], ends);
        }
        self.measure_backends();
        if let Some(sizes) = sizes {
            let records = &metrics.store_records;
            for (table, size) in Table::ALL.iter().zip(sizes.tables) {
                records.with([table.name()]).set(size);
            }
            records.with(["revocation"]).set(sizes.revocations);
        }
        self.measure_audit_log();
        process(metrics);
    }

    fn measure_backends(&self) {
        for (name, status) in self.lookout.statuses() {
            let tools = match &status.seen {
                Observation::Answers(listing) => Some(listing.tools.len()),
                Observation::AsksWhoCalls | Observation::Pending | Observation::Failed(_) => None,
            };
            let up = self.metrics.backend_up.with([name]);
            let is_there = matches!(status.seen, Observation::AsksWhoCalls);
            up.set(usize::from(is_there || tools.is_some()));
            if let Some(tools) = tools {
                self.metrics.backend_tools.with([name]).set(tools);
            }
        }
    }

    fn measure_audit_log(&self) {
        let (metrics, journal) = (&self.metrics, &self.server.journal);
        let is_failing = usize::from(journal.is_failing());
        metrics.audit_failing.with([]).set(is_failing);
        for figures in journal.figures() {
            let log = [figures.log];
            metrics.audit_queue.with(log).set(figures.queued);
            metrics.audit_records.with(log).advance_to(figures.written);
            metrics.audit_lost.with(log).advance_to(figures.lost);
        }
    }
}

/// What the system says of this process. On systems without `/proc` nothing.
fn process(metrics: &Metrics) {
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        // Without the one that is read here.
        metrics
            .process_files
            .with([])
            .set(files.count().saturating_sub(1));
    }
    if let Some(most) = open_files::limit().and_then(|most| usize::try_from(most).ok()) {
        metrics.process_most_files.with([]).set(most);
    }
    let read = |name| fs::read_to_string(name).unwrap_or_default();
    let (stat, system) = (read("/proc/self/stat"), read("/proc/stat"));
    if let Some(times) = ProcessTimes::parse(&stat, &system) {
        metrics.process_cpu.advance_to([], times.cpu);
        metrics.process_start.set([], times.started);
    }
    let status = read("/proc/self/status");
    if let Some(kibibytes) = status_number(&status, "VmRSS:") {
        metrics.process_memory.with([]).set(kibibytes * 1024);
    }
    if let Some(threads) = status_number(&status, "Threads:") {
        metrics.process_threads.with([]).set(threads);
    }
}

/// The unit in which Linux tells programs of time (proc(5), USER_HZ): the same on all machines that it
/// runs on today.
const TICKS: f64 = 100.0;

/// Times of a process, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ProcessTimes {
    /// Of processors, in user and system mode.
    cpu: f64,
    /// Its start, since 1970.
    started: f64,
}

impl ProcessTimes {
    /// `stat` is the process' own file of that name, `system` that of the machine (proc(5)).
    fn parse(stat: &str, system: &str) -> Option<Self> {
        // Its name stands in parentheses and may hold anything, parentheses too. The third field follows.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let booted = system
            .lines()
            .find_map(|line| line.strip_prefix("btime "))?;
        let booted: f64 = booted.trim().parse().ok()?;
        Some(Self {
            cpu: (ticks(14)? + ticks(15)?) / TICKS,
            started: booted + ticks(22)? / TICKS,
        })
    }
}

/// A number of `/proc/self/status`.
fn status_number(status: &str, name: &str) -> Option<usize> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_process_are_read_whatever_its_name_is() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 12 0 1000 9 9";
        let times = ProcessTimes::parse(stat, "cpu 1 2\nbtime 1700000000\n");
        let expected = ProcessTimes {
            cpu: 3.0,
            started: 1_700_000_010.0,
        };
        assert_eq!(times, Some(expected));
        assert_eq!(ProcessTimes::parse(stat, "cpu 1 2\n"), None);
        assert_eq!(ProcessTimes::parse("7 (a", "btime 1\n"), None);
        let status = "Name:\tgateway\nVmRSS:\t   24576 kB\nThreads:\t12\n";
        assert_eq!(status_number(status, "VmRSS:"), Some(24_576));
        assert_eq!(status_number(status, "Threads:"), Some(12));
        assert_eq!(status_number(status, "VmHWM:"), None);
    }
}
