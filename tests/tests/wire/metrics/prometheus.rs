//! Debian's Prometheus: what it thinks of the metrics, the configuration and the alerts in
//! `conf/prometheus`, and what it knows after it has asked a gateway.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use tests::fixture::Fixture;
use tests::http::{client, get, send};
use tests::mcp::{call, initialize};
use tests::metrics::Scrape;
use tests::program::{Program, free_port, run, workspace};

/// How long Prometheus may take to start and ask.
const ASKED: Duration = Duration::from_secs(40);

/// A program of Debian's package, which `tests/run` unpacks.
fn debian(name: &str) -> PathBuf {
    workspace()
        .join("tests/.work/prometheus/usr/bin")
        .join(name)
}

async fn promtool(words: &[&str], input: &str) -> Result<()> {
    let (code, out, errors) = run(&debian("promtool"), words, input).await?;
    anyhow::ensure!(code == 0, "promtool {words:?}: {out}{errors}");
    Ok(())
}

fn conf(path: &str) -> Result<String> {
    let path = workspace().join("conf").join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The queries of the dashboard, with what Grafana would put into them.
fn dashboard_queries() -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(&conf("grafana/gateway.json")?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str());
    let filled = queries.map(|query| {
        query
            .replace("$__rate_interval", "1m")
            .replace("$instance", ".*")
            .replace("$backend", ".*")
    });
    Ok(filled.collect())
}

/// The conditions of the alerts.
fn alerts() -> Result<Vec<(String, String)>> {
    let text = conf("prometheus/alerts.yml")?;
    let named = text.split("- alert: ").skip(1);
    let alerts = named.map(|alert| {
        let (name, rest) = alert.split_once('\n').context("an alert without an end")?;
        let (_, condition) = rest.split_once("expr:").context("an alert without expr")?;
        let lines = condition.lines().take_while(|line| {
            let line = line.trim_start();
            !line.starts_with("for:") && !line.starts_with("labels:")
        });
        let condition = lines.collect::<Vec<_>>().join(" ");
        let condition = condition.trim().trim_start_matches('|').trim();
        Ok((name.trim().to_owned(), condition.to_owned()))
    });
    alerts.collect()
}

#[tokio::test]
async fn promtool_finds_nothing_wrong() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    tests::mcp::send(&fixture.url("/mcp"), &token, &initialize()).await?;
    let scrape = Scrape::take(&fixture.gateway).await?;
    promtool(&["check", "metrics"], &scrape.text).await?;
    let file = |name: &str| workspace().join("conf/prometheus").join(name);
    let rules = file("alerts.yml");
    for config in [file("prometheus.yml"), file("compose.yml")] {
        promtool(&["check", "config", &config.display().to_string()], "").await?;
    }
    promtool(&["check", "rules", &rules.display().to_string()], "").await
}

#[tokio::test]
async fn a_certificate_that_ends_within_a_week_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let rules = workspace().join("conf/prometheus/alerts.yml");
    // Time begins at 0, and the certificate ends after eight days.
    let test = format!(
        r#"rule_files: [{rules:?}]
tests:
  - interval: 1h
    input_series:
      - series: gateway_certificate_end_timestamp_seconds{{instance="here", job="gateway"}}
        values: "691200x100"
    alert_rule_test:
      - eval_time: 23h
        alertname: GatewayCertificateEnds
      - eval_time: 48h
        alertname: GatewayCertificateEnds
        exp_alerts:
          - exp_labels: {{severity: critical, instance: here, job: gateway}}
            exp_annotations:
              summary: "the certificate of here ends in 6d 0h 0m 0s"
              runbook: conf/documents/metrics.md#gatewaycertificateends
"#
    );
    let path = folder.path().join("test.yml");
    std::fs::write(&path, test)?;
    promtool(&["test", "rules", &path.display().to_string()], "").await
}

/// Of the profile `observability`: what is mounted into the two programs, and how they find each other.
#[test]
fn what_docker_compose_gives_to_prometheus_and_grafana_is_there() -> Result<()> {
    let compose = std::fs::read_to_string(workspace().join("docker-compose.yml"))?;
    let mounted = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./"));
    let folders: Vec<&str> = mounted.filter_map(|line| line.split(':').next()).collect();
    for folder in ["conf/prometheus", "conf/grafana"] {
        assert!(folders.contains(&folder), "{folders:?}");
    }
    assert!(compose.contains("--config.file=/etc/prometheus/compose.yml"));
    assert!(
        compose.contains("/etc/dashboards/gateway.json") && conf("grafana/gateway.json").is_ok()
    );
    assert!(
        conf("grafana/provisioning/datasources/prometheus.yml")?.contains("http://prometheus:9090")
    );
    assert!(
        conf("grafana/provisioning/dashboards/gateway.yml")?.contains("path: /etc/dashboards\n")
    );
    Ok(())
}

#[test]
fn every_alert_has_its_runbook() -> Result<()> {
    let (text, page) = (
        conf("prometheus/alerts.yml")?,
        conf("documents/metrics.md")?,
    );
    let alerts = alerts()?;
    assert!(alerts.len() >= 10, "{alerts:?}");
    for (name, _) in alerts {
        assert!(
            page.contains(&format!("### {name}\n")),
            "{name} has no runbook"
        );
        let link = format!(
            "runbook: conf/documents/metrics.md#{}\n",
            name.to_lowercase()
        );
        assert!(text.contains(&link), "{name} does not name its runbook");
    }
    Ok(())
}

#[tokio::test]
async fn prometheus_asks_the_gateway_and_answers_the_dashboard() -> Result<()> {
    let fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let (folder, port) = (tempfile::tempdir()?, free_port());
    let admin = format!("127.0.0.1:{}", fixture.gateway.admin_port);
    let config = conf("prometheus/prometheus.yml")?;
    let config = config
        .replace("127.0.0.1:9090", &admin)
        .replace("15s", "1s");
    std::fs::write(folder.path().join("prometheus.yml"), config)?;
    std::fs::write(
        folder.path().join("alerts.yml"),
        conf("prometheus/alerts.yml")?,
    )?;
    let words = [
        format!(
            "--config.file={}",
            folder.path().join("prometheus.yml").display()
        ),
        format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let _prometheus = Program::start(&debian("prometheus"), folder.path(), &words, &[])?;
    for number in 0..3 {
        let body = call(number, "echo", &serde_json::json!({}));
        assert_eq!(
            tests::mcp::send(&fixture.url("/mcp"), &token, &body)
                .await?
                .status,
            200
        );
    }
    let asked = |query: String| async move {
        let url = format!("http://127.0.0.1:{port}/api/v1/query");
        let reply = send(client().get(url).query(&[("query", query.as_str())])).await?;
        anyhow::ensure!(reply.status == 200, "{query}: {}", reply.text);
        Ok(reply.json()["data"]["result"].clone())
    };
    let calls = r#"gateway_tool_calls_total{backend="main",tool="echo",outcome="allowed"}"#;
    let begun = Instant::now();
    let value = loop {
        let found = asked(calls.to_owned()).await.unwrap_or_default();
        if let Some(value) = found[0]["value"][1].as_str() {
            break value.to_owned();
        }
        assert!(begun.elapsed() < ASKED, "Prometheus knows nothing: {found}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(value, "3");
    let up = asked(r#"up{job="gateway"}"#.to_owned()).await?;
    assert_eq!(up[0]["value"][1], "1", "{up}");
    let queries = dashboard_queries()?;
    assert!(queries.len() > 20);
    for query in queries {
        asked(query).await?;
    }
    // All is well, so that no condition of an alert holds.
    for (name, condition) in alerts()? {
        assert_eq!(asked(condition).await?, serde_json::json!([]), "{name}");
    }
    names_are_the_gateways(&fixture).await
}

/// What dashboard and alerts ask for is what the manual lists, and what is printed is, too.
async fn names_are_the_gateways(fixture: &Fixture) -> Result<()> {
    let page = conf("documents/metrics.md")?;
    let listed: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let of_histogram = |name: &str| {
        let parts = ["_bucket", "_sum", "_count"];
        let base = parts.iter().find_map(|part| name.strip_suffix(part));
        base.is_some_and(|base| listed.contains(&base))
    };
    let is_listed = |name: &str| listed.contains(&name) || of_histogram(name);
    for sample in Scrape::take(&fixture.gateway).await?.samples {
        assert!(
            is_listed(&sample.name),
            "{} is not in the manual",
            sample.name
        );
    }
    let conditions = alerts()?.into_iter().map(|(_, condition)| condition);
    for query in dashboard_queries()?.into_iter().chain(conditions) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = query.split(|c| !is_part(c));
        for name in
            names.filter(|name| name.starts_with("gateway_") || name.starts_with("process_"))
        {
            assert!(is_listed(name), "{query}: {name} is none of the gateway's");
        }
    }
    assert_eq!(get(&fixture.url("/metrics")).await?.status, 404);
    Ok(())
}
