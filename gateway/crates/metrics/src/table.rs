//! The one table of metrics. Of a row are made the field to count with, the text for Prometheus and the
//! line of the manual.

use std::ops::Deref;
use std::sync::Arc;

use prometheus::{Registry, TextEncoder};

use super::family::{
    CounterFamily, Family, GaugeFamily, HistogramFamily, Kind, NumberFamily, SecondsFamily,
};

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name for Prometheus.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($field:ident: $family:ident $name:literal [$($label:literal)*] $($buckets:ident)? = $help:literal;)*) => {
        /// All metrics, to count with.
        #[derive(Debug)]
        pub struct Families {
            registry: Registry,
            $(#[doc = $help] pub $field: $family<{ [$($label,)* ""].len() - 1 }>,)*
        }

        impl Families {
            fn register(registry: Registry) -> prometheus::Result<Self> {
                $(
                    let buckets: &[f64] = &[];
                    $(let buckets = { let _ = buckets; $buckets };)?
                    let $field = Family::register(&registry, $name, $help, &[$($label),*], buckets)?;
                )*
                Ok(Self { registry, $($field,)* })
            }
        }

        const TABLE: &[Row] = &[$(Row {
            name: $name,
            kind: <$family<0> as Family>::KIND,
            labels: &[$($label),*],
            help: $help,
        },)*];
    };
}

/// For what the gateway does itself, in seconds.
const SHORT: &[f64] = &[
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5,
];

/// For what it waits for, in seconds.
const LONG: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];

metrics! {
    build: GaugeFamily "gateway_build_info" ["version"]
        = "Always 1. The running version.";
    requests: CounterFamily "gateway_requests_total" ["endpoint" "backend" "outcome" "reason"]
        = "Requests, by what was decided about them: allowed, refused, or failed by a fault of the gateway's or a backend's own. What becomes of an allowed one is an exchange.";
    calls: CounterFamily "gateway_rpc_messages_total" ["backend" "method" "outcome" "reason"]
        = "Messages of MCP in requests whose token counts, by what was decided about them. A method that MCP does not name is `other`, a client's answer to a question is `response`.";
    tool_calls: CounterFamily "gateway_tool_calls_total" ["backend" "tool" "outcome"]
        = "Calls of tools, by what was decided about them. A tool that its backend does not list, or one beyond 256 of a backend, is `other`.";
    exchanges: CounterFamily "gateway_exchanges_total" ["backend" "outcome" "reason"]
        = "Allowed requests that are over, by what ended them: `done`, `client_gone`, `cancelled`, `grant_revoked`, `token_expired`, `account_ended`, `limit_reached`, `closed_by_operator`, `shutdown`, or `failed` with the reason.";
    exchanges_open: GaugeFamily "gateway_exchanges_in_flight" ["backend"]
        = "Allowed requests that are not over, streams among them.";
    deciding: HistogramFamily "gateway_admission_duration_seconds" ["backend"] SHORT
        = "What the gateway itself took to decide about a request that was allowed: its token, its body read, policy, audit record. Waiting for the body to arrive is not in it.";
    backend_duration: HistogramFamily "gateway_backend_duration_seconds" ["backend" "method"] LONG
        = "What the backend took: from when a request was allowed to the head of its answer, connecting included. Of several messages in one request it is the first one's; without any, `stream`.";
    received: CounterFamily "gateway_request_body_bytes_total" ["backend"]
        = "Bytes in the bodies of allowed requests.";
    sent: CounterFamily "gateway_response_body_bytes_total" ["backend"]
        = "Bytes in the bodies of answers to allowed requests.";
    streams: GaugeFamily "gateway_open_streams" ["backend"]
        = "Event streams that are held open.";
    streams_opened: CounterFamily "gateway_streams_opened_total" ["backend"]
        = "Event streams that were opened. An answer to a call becomes one when it is silent for `timeouts.keepalive`.";
    streams_ended: CounterFamily "gateway_streams_ended_total" ["backend" "cause"]
        = "Event streams that ended, by what ended them.";
    lane_requests: CounterFamily "gateway_lane_requests_total" []
        = "Requests for MCP that were served on the short road; the others go through Pingora.";
    tokens_issued: CounterFamily "gateway_tokens_issued_total" ["grant_type"]
        = "Access tokens that the token endpoint gave.";
    tokens_refused: CounterFamily "gateway_tokens_refused_total" ["outcome" "reason"]
        = "Requests that the token endpoint refused, or failed.";
    logins: CounterFamily "gateway_logins_total" ["outcome" "reason"]
        = "Logins of people, with a password or an identity provider.";
    consents: CounterFamily "gateway_consents_total" ["outcome" "reason"]
        = "Answers of people to apps that asked for access.";
    registrations: CounterFamily "gateway_client_registrations_total" ["outcome" "reason"]
        = "Clients that registered themselves, or were refused.";
    revocations: CounterFamily "gateway_revocations_total" ["outcome" "reason"]
        = "Times that access was taken back, by a person, an app, the operator, or the gateway because something was used twice.";
    accounts: CounterFamily "gateway_accounts_total" ["outcome" "reason"]
        = "Times that a person's account at a backend was connected, renewed or removed, or that this was refused or failed.";
    account_renewals: CounterFamily "gateway_account_renewals_total" ["backend" "outcome"]
        = "Renewals of people's accounts at a backend: `renewed`, `lapsed` where it is to be connected again, or `unavailable` where the authorization server could not be asked.";
    operator_commands: CounterFamily "gateway_operator_commands_total" ["outcome" "reason"]
        = "Commands of the operator through the admin listener.";
    revocation_effect: HistogramFamily "gateway_revocation_effect_seconds" [] LONG
        = "From the start of a revocation until it is durable and the next call on this replica is refused.";
    revocations_age: NumberFamily "gateway_revocations_age_seconds" []
        = "Time since the revocations were last read; calls are refused from 60 on.";
    certificate_end: NumberFamily "gateway_certificate_end_timestamp_seconds" []
        = "When the certificate ends that https is served with, in seconds since 1970; absent without one.";
    store_duration: HistogramFamily "gateway_store_operation_duration_seconds" ["operation"] LONG
        = "What the store took.";
    store_errors: CounterFamily "gateway_store_errors_total" ["operation" "reason"]
        = "Operations of the store that failed. `conflict`: somebody else changed it first, and it is done again.";
    store_records: GaugeFamily "gateway_store_records" ["table"]
        = "Records in the store by table, expired ones that were not swept yet among them, when it last answered. Strangers add to `client` (apps that registered themselves), `once` (what waits for an answer, and marks of what was used) and `setting`; each goes at its end.";
    audit_records: CounterFamily "gateway_audit_records_total" ["log"]
        = "Records that were written to the audit log.";
    audit_lost: CounterFamily "gateway_audit_records_lost_total" ["log"]
        = "Records that the audit log could not take.";
    audit_queue: GaugeFamily "gateway_audit_queue_records" ["log"]
        = "Records that wait for the writer of the audit log; it takes 16,384 of each log.";
    audit_failing: GaugeFamily "gateway_audit_failing" []
        = "1 while the audit log can't be written.";
    spans_exported: CounterFamily "gateway_trace_spans_exported_total" []
        = "Spans that the collector of traces took.";
    spans_dropped: CounterFamily "gateway_trace_spans_dropped_total" ["reason"]
        = "Spans that were dropped: `queue_full` where the collector is slower than the calls, `export_failed` where it did not take them, `rejected` where it did not want them.";
    cache: CounterFamily "gateway_cache_lookups_total" ["cache" "result"]
        = "Questions to what is remembered: `hit` or `miss`.";
    connections: GaugeFamily "gateway_connections_open" []
        = "Connections of clients that are open.";
    connections_accepted: CounterFamily "gateway_connections_accepted_total" []
        = "Connections of clients that were taken.";
    limits_reached: CounterFamily "gateway_limit_reached_total" ["limit"]
        = "Times that something was refused or cut because a limit was reached, by its setting, or by the name of a `[[limit]]`; `token` is the budget of a narrowed token.";
    in_flight: GaugeFamily "gateway_in_flight_bytes" []
        = "Bytes that are held of unfinished requests and answers; `limits.in_flight` bounds it.";
    backend_up: GaugeFamily "gateway_backend_up" ["backend"]
        = "1 where the backend answered when it was last asked for its tools.";
    backend_tools: GaugeFamily "gateway_backend_tools" ["backend"]
        = "Tools that the backend lists.";
    process_memory: GaugeFamily "process_resident_memory_bytes" []
        = "Memory of the process that is in RAM.";
    process_cpu: SecondsFamily "process_cpu_seconds_total" []
        = "Time of processors that the process took, in user and system mode.";
    process_files: GaugeFamily "process_open_fds" []
        = "Open files of the process.";
    process_most_files: GaugeFamily "process_max_fds" []
        = "How many files the process may open.";
    process_threads: GaugeFamily "process_threads" []
        = "Threads of the process.";
    process_start: NumberFamily "process_start_time_seconds" []
        = "When the process started, in seconds since 1970.";
}

/// All metrics of one gateway. Clones count into the same.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

impl Metrics {
    /// Every metric, in the order of the manual.
    pub const TABLE: &[Row] = TABLE;

    /// All at their start.
    #[expect(
        clippy::missing_panics_doc,
        reason = "the table is a constant, which a test registers"
    )]
    pub fn new() -> Self {
        let families = Families::register(Registry::new());
        Self(Arc::new(
            families.expect("the names of the table are good and differ"),
        ))
    }

    /// The state of this moment in Prometheus' text format.
    pub fn exposition(&self) -> String {
        let gathered = self.0.registry.gather();
        // It writes into memory what it gathered itself.
        TextEncoder::new()
            .encode_to_string(&gathered)
            .unwrap_or_default()
    }

    /// The table in Markdown, as it stands in the manual.
    pub fn reference() -> String {
        let mut table =
            String::from("| metric | kind | labels | what it says |\n|---|---|---|---|\n");
        for row in TABLE {
            let labels: Vec<String> = row
                .labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect();
            let (name, kind) = (row.name, row.kind.as_str());
            table.push_str(&format!(
                "| `{name}` | {kind} | {} | {} |\n",
                labels.join(", "),
                row.help
            ));
        }
        table
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Metrics {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_registered_and_keeps_to_the_conventions() {
        let metrics = Metrics::new();
        metrics
            .requests
            .with(["mcp", "docs", "allowed", ""])
            .increment();
        let text = metrics.exposition();
        let line = r#"gateway_requests_total{backend="docs",endpoint="mcp",outcome="allowed",reason=""} 1"#;
        assert!(text.contains(line), "{text}");
        for row in Metrics::TABLE {
            assert_eq!(
                row.kind == Kind::Counter,
                row.name.ends_with("_total"),
                "{}",
                row.name
            );
            assert_eq!(
                row.kind == Kind::Histogram,
                row.name.ends_with("_duration_seconds") || row.name.ends_with("_effect_seconds"),
                "{}",
                row.name
            );
            assert!(
                row.help.ends_with('.') && !row.help.contains('|'),
                "{}",
                row.name
            );
            let is_plain = |label: &&str| {
                label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            };
            assert!(row.labels.iter().all(is_plain), "{}", row.name);
        }
    }
}
