//! What a gateway says at `/metrics`, number by number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::gateway::Gateway;
use crate::http::get;

/// How long what just happened may take to be counted.
const COUNTED: Duration = Duration::from_secs(10);

/// One line: a number, under a name with labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name; of a histogram with `_bucket`, `_sum` or `_count`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The number.
    pub value: f64,
}

/// All lines of one moment.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// In their order.
    pub samples: Vec<Sample>,
    /// As they were sent.
    pub text: String,
}

impl Scrape {
    /// Asks the gateway.
    pub async fn take(gateway: &Gateway) -> Result<Self> {
        let reply = get(&gateway.admin_url("/metrics")).await?;
        anyhow::ensure!(reply.status == 200, "{}: {}", reply.status, reply.text);
        Self::parse(reply.text)
    }

    /// Asks until something holds. An error that shows the last answer, if it never does.
    pub async fn until(gateway: &Gateway, holds: impl Fn(&Self) -> bool) -> Result<Self> {
        let begun = Instant::now();
        loop {
            let scrape = Self::take(gateway).await?;
            if holds(&scrape) {
                return Ok(scrape);
            }
            if begun.elapsed() > COUNTED {
                bail!("it never came to hold:\n{}", scrape.counts());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn parse(text: String) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(sample).collect::<Result<_>>()?;
        Ok(Self { samples, text })
    }

    /// The sum of all samples of this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            let is = |(key, value): &(&str, &str)| {
                let found = sample.labels.get(*key);
                found.is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(is)
        };
        self.samples
            .iter()
            .filter(has)
            .map(|sample| sample.value)
            .sum()
    }

    /// The lines without buckets, for messages.
    pub fn counts(&self) -> String {
        let lines = self.text.lines();
        let plain = lines.filter(|line| !line.starts_with('#') && !line.contains("_bucket{"));
        plain.collect::<Vec<_>>().join("\n")
    }
}

/// One line of the text format. Its label values hold no escapes here.
fn sample(line: &str) -> Result<Sample> {
    let (name, value) = line.rsplit_once(' ').context("a line without a value")?;
    let value = value.parse().with_context(|| line.to_owned())?;
    let (name, labels) = match name.split_once('{') {
        Some((name, labels)) => (name, labels.trim_end_matches('}')),
        None => (name, ""),
    };
    let pairs = labels.split("\",").filter(|pair| !pair.is_empty());
    let labels = pairs.map(|pair| {
        let (key, value) = pair.split_once("=\"").with_context(|| line.to_owned())?;
        Ok((key.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Ok(Sample {
        name: name.to_owned(),
        labels: labels.collect::<Result<_>>()?,
        value,
    })
}
