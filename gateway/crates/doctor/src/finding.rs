//! What a check came to, and the report of all of them: text, JSON, exit code.

use serde_json::{Value, json};

use super::check::Check;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// As clients need it.
    Pass,
    /// Not judged: something before it failed, or was not asked for.
    Skip,
    /// Some clients or some uses will have trouble.
    Warn,
    /// Clients fail on it, or it is unsafe.
    Fail,
}

impl Verdict {
    /// As the report prints it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Skip => "SKIP",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One check, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, in one line.
    pub summary: String,
    /// What was seen on the wire; no secrets.
    pub evidence: Vec<String>,
}

impl Check {
    fn found(self, verdict: Verdict, summary: impl Into<String>) -> Finding {
        Finding {
            check: self,
            verdict,
            summary: summary.into(),
            evidence: Vec::new(),
        }
    }

    pub(super) fn pass(self, summary: impl Into<String>) -> Finding {
        self.found(Verdict::Pass, summary)
    }

    pub(super) fn warn(self, summary: impl Into<String>) -> Finding {
        self.found(Verdict::Warn, summary)
    }

    pub(super) fn fail(self, summary: impl Into<String>) -> Finding {
        self.found(Verdict::Fail, summary)
    }

    pub(super) fn skip(self, summary: impl Into<String>) -> Finding {
        self.found(Verdict::Skip, summary)
    }

    /// Passes if it holds, else fails.
    pub(super) fn pass_if(
        self,
        holds: bool,
        well: impl Into<String>,
        otherwise: impl Into<String>,
    ) -> Finding {
        if holds {
            self.pass(well)
        } else {
            self.fail(otherwise)
        }
    }

    /// Not judged, because `cause` has to be mended first.
    pub(super) fn after(self, cause: Self) -> Finding {
        self.skip(format!("not judged: see {cause}"))
    }
}

impl Finding {
    pub(super) fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    /// The same; a failure is a warning.
    pub(super) fn warning_at_worst(mut self) -> Self {
        self.verdict = self.verdict.min(Verdict::Warn);
        self
    }

    fn json(&self, is_ours: bool) -> Value {
        json!({
            "id": self.check.id(),
            "verdict": self.verdict.word(),
            "summary": self.summary,
            "why": self.check.why(),
            "evidence": self.evidence,
            "next": next(self.check, is_ours),
        })
    }
}

const fn next(check: Check, is_ours: bool) -> &'static str {
    if is_ours {
        check.next()
    } else {
        check.next_elsewhere()
    }
}

/// All checks, each exactly once, in the order of [`Check::ALL`].
#[derive(Clone, Debug)]
pub struct Report {
    /// The MCP URL that was examined.
    pub url: String,
    /// Whether this gateway answers there, as far as its answers tell.
    pub is_ours: bool,
    /// The checks.
    pub findings: Vec<Finding>,
    /// What the examination left behind, and other remarks.
    pub notes: Vec<String>,
}

impl Report {
    /// Puts findings in order. A check that came up twice keeps its worse verdict; one that did
    /// not come up is skipped.
    pub(super) fn new(url: String, is_ours: bool, found: Vec<Finding>, notes: Vec<String>) -> Self {
        let worst = |check: &Check| {
            let of_check = found.iter().filter(|finding| finding.check == *check);
            let worst = of_check.max_by_key(|finding| finding.verdict).cloned();
            worst.unwrap_or_else(|| check.skip("not judged: what it needs did not come about"))
        };
        let findings = Check::ALL.iter().map(|check| {
            // At a server of another kind what stops no client is a warning.
            if is_ours || !check.is_minor_elsewhere() {
                worst(check)
            } else {
                worst(check).warning_at_worst()
            }
        });
        let findings = findings.collect();
        Self {
            url,
            is_ours,
            findings,
            notes,
        }
    }

    /// How many checks ended so.
    pub fn count(&self, verdict: Verdict) -> usize {
        let ended_so = |finding: &&Finding| finding.verdict == verdict;
        self.findings.iter().filter(ended_so).count()
    }

    /// 0: nothing to mend; 1: warnings; 2: failures.
    pub fn exit_code(&self) -> u8 {
        if self.count(Verdict::Fail) > 0 {
            2
        } else {
            u8::from(self.count(Verdict::Warn) > 0)
        }
    }

    /// For people: a line a check. `explain`: with why, evidence and next step where something is
    /// not well.
    pub fn text(&self, explain: bool) -> String {
        let width = Check::ALL.iter().map(|check| check.id().len()).max();
        let width = width.unwrap_or(0);
        let mut text = String::new();
        for finding in &self.findings {
            let word = finding.verdict.word();
            text += &format!("{word} {:width$} {}\n", finding.check, finding.summary);
            if explain && matches!(finding.verdict, Verdict::Warn | Verdict::Fail) {
                text += &format!("     why   {}\n", finding.check.why());
                for line in &finding.evidence {
                    text += &format!("     seen  {line}\n");
                }
                text += &format!("     next  {}\n", next(finding.check, self.is_ours));
            }
        }
        for note in &self.notes {
            text += &format!("note {note}\n");
        }
        text += &format!(
            "{}: {} passed, {} warnings, {} failed, {} skipped\n",
            self.url,
            self.count(Verdict::Pass),
            self.count(Verdict::Warn),
            self.count(Verdict::Fail),
            self.count(Verdict::Skip)
        );
        if !explain && self.exit_code() > 0 {
            text += "--explain prints why each matters, what was seen, and the next step\n";
        }
        text
    }

    /// For programs: every check with everything.
    pub fn json(&self) -> Value {
        let checks = self.findings.iter();
        let checks: Vec<Value> = checks.map(|finding| finding.json(self.is_ours)).collect();
        json!({
            "url": self.url,
            "server": if self.is_ours { "cupcake-gateway" } else { "other" },
            "version": env!("CARGO_PKG_VERSION"),
            "checks": checks,
            "notes": self.notes,
            "passed": self.count(Verdict::Pass),
            "warnings": self.count(Verdict::Warn),
            "failed": self.count(Verdict::Fail),
            "skipped": self.count(Verdict::Skip),
            "exit": self.exit_code(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(found: Vec<Finding>) -> Report {
        Report::new(
            "https://mcp.example.com/mcp".into(),
            true,
            found,
            Vec::new(),
        )
    }

    #[test]
    fn every_check_is_reported_exactly_once_with_its_worst_verdict() {
        let report = report(vec![
            Check::Issuer.fail("differs"),
            Check::Issuer.pass("equal"),
        ]);
        assert_eq!(report.findings.len(), Check::ALL.len());
        let issuer = report.findings.iter().find(|f| f.check == Check::Issuer);
        assert_eq!(issuer.map(|f| f.verdict), Some(Verdict::Fail));
        assert_eq!(report.count(Verdict::Skip), Check::ALL.len() - 1);
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_verdict() {
        let pass = Check::Issuer.pass("equal");
        let warn = Check::Https.warn("loopback");
        let fail = Check::Deny.fail("no state");
        assert_eq!(report(vec![pass.clone()]).exit_code(), 0);
        assert_eq!(report(vec![pass.clone(), warn.clone()]).exit_code(), 1);
        assert_eq!(report(vec![pass, warn, fail]).exit_code(), 2);
    }

    #[test]
    fn at_another_server_what_stops_nobody_is_a_warning_and_advice_is_for_its_operator() {
        let found = vec![
            Check::IssFlag.fail("is not true"),
            Check::PkceVerified.fail("a token"),
        ];
        let report = Report::new(
            "https://mcp.example.com/mcp".into(),
            false,
            found,
            Vec::new(),
        );
        assert_eq!(
            (report.count(Verdict::Warn), report.count(Verdict::Fail)),
            (1, 1)
        );
        let text = report.text(true);
        assert!(text.contains(Check::IssFlag.next_elsewhere()), "{text}");
        assert!(!text.contains("Upgrade the gateway"), "{text}");
        assert_eq!(report.json()["server"], "other");
    }

    #[test]
    fn an_explained_report_says_why_what_was_seen_and_what_next() {
        let report = report(vec![Check::Issuer.fail("differs").seen("a != b")]);
        let text = report.text(true);
        for part in [
            "FAIL issuer ",
            Check::Issuer.why(),
            "a != b",
            Check::Issuer.next(),
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!report.text(false).contains(Check::Issuer.why()));
        let json = report.json();
        let issuer = &json["checks"].as_array().unwrap()[Check::Issuer as usize];
        assert_eq!(issuer["evidence"], json!(["a != b"]));
        assert_eq!(json["exit"], 2);
    }
}
