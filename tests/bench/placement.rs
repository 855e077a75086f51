//! Which processors the measured proxy has to itself, and which everything else shares,
//! so that the load generator's work never slows the proxy down.

use anyhow::{Context, Result, ensure};
use tests::program;

/// The division of the machine's processors.
pub(crate) struct Placement {
    /// How many there are.
    pub(crate) processors: usize,
    /// For the proxies, as `taskset` lists them; `None` when there are too few to divide.
    pub(crate) proxies: Option<String>,
    /// For backends and load generator.
    pub(crate) rest: Option<String>,
    /// For whoever attacks; `None` when there are too few, and attackers share what the rest has.
    pub(crate) attacker: Option<String>,
}

impl Placement {
    /// As many processors as threads for the proxies, if at least one is left over.
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let processors = std::thread::available_parallelism()
            .context("the number of processors")?
            .get();
        let divided = processors > threads;
        Ok(Placement {
            processors,
            proxies: divided.then(|| list(0, threads)),
            rest: divided.then(|| list(threads, processors)),
            attacker: None,
        })
    }

    /// The same with a processor for attackers, if there is one more than proxies and client need.
    pub(crate) fn with_attacker(threads: usize) -> Result<Self> {
        let whole = Self::new(threads)?;
        let last = whole.processors - 1;
        if last <= threads {
            return Ok(whole);
        }
        Ok(Placement {
            rest: Some(list(threads, last)),
            attacker: Some(list(last, last + 1)),
            ..whole
        })
    }

    /// Move this program, which is the load generator, to its processors.
    pub(crate) async fn place_ourselves(&self) -> Result<()> {
        let Some(rest) = &self.rest else {
            return Ok(());
        };
        let me = std::process::id().to_string();
        let arguments = ["--all-tasks", "--cpu-list", "--pid", rest, &me];
        let taskset = crate::programs::find("taskset")?;
        let (code, _, errors) = program::run(&taskset, &arguments, "").await?;
        ensure!(code == 0, "taskset: {errors}");
        Ok(())
    }

    /// For the report.
    pub(crate) fn describe(&self) -> String {
        match (&self.proxies, &self.rest) {
            (Some(proxies), Some(rest)) => format!(
                "The proxy under measurement had processor {proxies} to itself; load generator and backend shared processor {rest}."
            ),
            _ => "Proxy, load generator and backend shared all processors.".to_owned(),
        }
    }
}

fn list(from: usize, to: usize) -> String {
    if to - from == 1 {
        from.to_string()
    } else {
        format!("{from}-{}", to - 1)
    }
}
