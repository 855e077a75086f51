//! `gateway doctor` against a healthy gateway, and against one with a single fault in front of it
//! at a time: exactly the check that the fault belongs to has to fail.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tests::browser::Browser;
use tests::fault_proxy::{Fault, FaultProxy};
use tests::gateway::{Gateway, Owner, Setup};
use tests::program::{Program, binary, free_port, workspace};
use tests::recorder::Recorder;
use tests::tls::{Certificates, TlsFront};
use tokio::process::Command;

/// The longest run watches a stream for a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// A healthy gateway with the bundled backend, behind a proxy that can do wrong.
struct Clinic {
    broken: FaultProxy,
    gateway: Gateway,
}

/// What the doctor said: exit code and report.
struct Diagnosis {
    code: i32,
    report: Value,
}

/// Run `gateway doctor`: exit code, standard output, standard error.
async fn doctor(arguments: &[&str]) -> Result<(i32, String, String)> {
    let ended = Command::new(binary("gateway"))
        .arg("doctor")
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, ended).await??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Ok((code, text(&output.stdout), text(&output.stderr)))
}

/// The same with its report read.
async fn diagnose(arguments: &[&str]) -> Result<Diagnosis> {
    let (code, printed, errors) = doctor(arguments).await?;
    let report = serde_json::from_str(&printed)
        .with_context(|| format!("exit {code}: {printed}{errors}"))?;
    Ok(Diagnosis { code, report })
}

impl Clinic {
    /// With refresh tokens, so that every check has something to look at.
    async fn open() -> Result<Self> {
        Self::with("[tokens]\nrefresh = true\n").await
    }

    async fn with(more: &str) -> Result<Self> {
        Self::of(Setup::default().more(more)).await
    }

    async fn of(setup: Setup) -> Result<Self> {
        let broken = FaultProxy::start().await?;
        let setup = Setup {
            public_url: Some(broken.origin()),
            ..setup
        };
        let gateway = Gateway::start(setup).await?;
        broken.front(&gateway.origin());
        let password = format!("{}\n", Owner::alice().password);
        std::fs::write(gateway.folder().join("password"), password)?;
        Ok(Clinic { broken, gateway })
    }

    async fn examine(&self, more: &[&str]) -> Result<Diagnosis> {
        let url = format!("{}/mcp", self.broken.origin());
        let mut arguments = vec![url.as_str(), "--json"];
        arguments.extend(more);
        diagnose(&arguments).await
    }

    async fn examine_logged_in(&self, more: &[&str]) -> Result<Diagnosis> {
        let password = self.gateway.folder().join("password");
        let password = password.display().to_string();
        let mut arguments = vec!["--login", "alice", "--password-file", &password];
        arguments.extend(more);
        self.examine(&arguments).await
    }
}

impl Diagnosis {
    /// Id, summary and evidence of what failed.
    fn unwell(&self) -> Vec<String> {
        let checks = self.report["checks"].as_array().into_iter().flatten();
        let failed = checks.filter(|check| check["verdict"] == "FAIL");
        failed
            .map(|check| format!("{} {} {}", check["id"], check["summary"], check["evidence"]))
            .collect()
    }

    fn ids(&self, verdict: &str) -> Vec<&str> {
        let checks = self.report["checks"]
            .as_array()
            .expect("a report has checks");
        let of = |check: &&Value| check["verdict"] == verdict;
        checks
            .iter()
            .filter(of)
            .map(|check| check["id"].as_str().expect("an id"))
            .collect()
    }
}

/// What is a warning on every loopback deployment.
const LOOPBACK: [&str; 2] = ["public-address", "https"];

#[tokio::test]
async fn a_healthy_gateway_passes_every_check() -> Result<()> {
    let clinic = Clinic::open().await?;
    let diagnosis = clinic.examine_logged_in(&[]).await?;
    assert_eq!(diagnosis.ids("FAIL"), [""; 0], "{:#}", diagnosis.report);
    assert_eq!(
        diagnosis.ids("SKIP"),
        ["tls-version", "tls-certificate"],
        "{:#}",
        diagnosis.report
    );
    let mut warnings = diagnosis.ids("WARN");
    warnings.retain(|id| !LOOPBACK.contains(id) && *id != "client-id-metadata-documents");
    assert_eq!(warnings, [""; 0], "{:#}", diagnosis.report);
    assert_eq!(diagnosis.code, 1, "loopback is a warning");
    let text = diagnosis.report.to_string();
    assert!(!text.contains(&Owner::alice().password));
    for check in diagnosis.report["checks"].as_array().into_iter().flatten() {
        for member in ["id", "verdict", "summary", "why", "next"] {
            assert!(
                check[member].as_str().is_some_and(|text| !text.is_empty()),
                "{check}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn several_servers_at_one_address_pass_every_check() -> Result<()> {
    let documents = format!("127.0.0.1:{}", free_port());
    let folder = workspace().join("conf/documents").display().to_string();
    let server = binary("mcp-backend").display().to_string();
    let command = [
        &*server,
        "--documents",
        &folder,
        "--listen",
        &documents,
        "--until-stdin-closes",
    ];
    let mail = Recorder::start(tests::scripted_mcp::answer).await?;
    let setup = Setup {
        only_more: true,
        ..Setup::default()
    }
    .more(&format!(
        "[tokens]\nrefresh = true\n\
         [[backend]]\nname = \"documents\"\npath = \"/documents\"\nurl = \"http://{documents}\"\ncommand = {command:?}\n\
         [[backend]]\nname = \"mail\"\npath = \"/mail\"\nurl = \"{}\"\n\
         [[backend]]\nname = \"all\"\npath = \"/\"\nmembers = [\"documents\", \"mail\"]\n",
        mail.url()
    ));
    let clinic = Clinic::of(setup).await?;
    let diagnosis = clinic.examine_logged_in(&["--quick"]).await?;
    assert_eq!(diagnosis.ids("FAIL"), [""; 0], "{:#}", diagnosis.report);
    let mut warnings = diagnosis.ids("WARN");
    warnings.retain(|id| !LOOPBACK.contains(id) && *id != "client-id-metadata-documents");
    assert_eq!(warnings, [""; 0], "{:#}", diagnosis.report);
    // The contract of ChatGPT is of tools that are called so, and here they have other names.
    let skipped = diagnosis.ids("SKIP");
    for id in ["search", "fetch"] {
        assert!(skipped.contains(&id), "{id}: {:#}", diagnosis.report);
    }
    Ok(())
}

#[tokio::test]
async fn where_nothing_is_refreshed_nothing_of_it_is_judged() -> Result<()> {
    let clinic = Clinic::with("").await?;
    let diagnosis = clinic.examine_logged_in(&["--quick"]).await?;
    assert_eq!(diagnosis.unwell(), [""; 0]);
    let skipped = diagnosis.ids("SKIP");
    for id in [
        "offline-access",
        "refresh-token",
        "refresh",
        "refresh-rotation",
        "refresh-grace",
    ] {
        assert!(skipped.contains(&id), "{id}: {:#}", diagnosis.report);
    }
    Ok(())
}

#[tokio::test]
async fn each_fault_fails_its_own_check_and_no_other() -> Result<()> {
    let clinic = Clinic::open().await?;
    let mut wrong = BTreeMap::new();
    for fault in Fault::ALL {
        clinic.broken.set(Some(*fault));
        // A cut shows within seconds; a minute of patience is needed for no other fault.
        let more: &[&str] = if *fault == Fault::IdleStreamCut {
            &[]
        } else {
            &["--quick"]
        };
        let diagnosis = clinic.examine_logged_in(more).await?;
        let failed = diagnosis.ids("FAIL");
        println!("{fault:?}: {failed:?}");
        if failed != [fault.check()] || diagnosis.code != 2 {
            wrong.insert(format!("{fault:?}"), diagnosis.unwell());
        }
    }
    clinic.broken.set(None);
    let diagnosis = clinic.examine_logged_in(&["--quick"]).await?;
    assert_eq!(
        diagnosis.ids("FAIL"),
        [""; 0],
        "the faults have left nothing behind"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[tokio::test]
async fn the_operator_logs_in_with_a_browser_of_their_own() -> Result<()> {
    let clinic = Clinic::open().await?;
    let url = format!("{}/mcp", clinic.broken.origin());
    let arguments = ["doctor", &url, "--json", "--quick", "--wait", "60s"];
    let folder = clinic.gateway.folder();
    let mut program = Program::start(&binary("gateway"), &folder, &arguments, &[])?;
    let mut browser = Browser::default();
    for (page, answer) in ["Allow", "Deny"].into_iter().enumerate() {
        let asked =
            |line: &str| line.trim_start().starts_with("http") && line.contains("/authorize?");
        let opened = || {
            program
                .stderr
                .all()
                .into_iter()
                .filter(|line| asked(line))
                .nth(page)
        };
        let line = wait_for(opened).await.context("no URL to open")?;
        let mut shown = browser.visit(&line.trim().parse()?).await?;
        if shown.password_form().is_ok() {
            let owner = Owner::alice();
            shown = browser.log_in(&shown, &owner.name, &owner.password).await?;
        }
        let back = browser.answer(&shown, answer).await?;
        let callback = back.location().context("no redirect to the doctor")?;
        let thanks = browser.open(&callback).await?;
        assert!(
            thanks.words().contains("You can close this page"),
            "{}",
            thanks.words()
        );
    }
    let code = wait_for(|| program.ended())
        .await
        .context("still running")?;
    let said = program.stdout.to_the_end(Duration::from_secs(10)).await;
    let report: Value = serde_json::from_str(&said.join("\n"))?;
    let diagnosis = Diagnosis { code, report };
    assert_eq!(diagnosis.ids("FAIL"), [""; 0], "{:#}", diagnosis.report);
    for id in [
        "authorization-response",
        "deny",
        "iss",
        "tools-list",
        "revocation",
    ] {
        assert!(
            diagnosis.ids("PASS").contains(&id),
            "{id}: {:#}",
            diagnosis.report
        );
    }
    Ok(())
}

/// Ask until there is something, for at most half a minute.
async fn wait_for<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..600 {
        if let Some(found) = ask() {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

#[tokio::test]
async fn without_a_login_what_is_behind_it_is_skipped_and_said() -> Result<()> {
    let clinic = Clinic::open().await?;
    let diagnosis = clinic.examine(&["--no-browser"]).await?;
    assert_eq!(diagnosis.ids("FAIL"), [""; 0], "{:#}", diagnosis.report);
    for id in ["token-response", "tools-list", "stream-idle", "revocation"] {
        assert!(diagnosis.ids("SKIP").contains(&id), "{id}");
    }
    for id in ["registration", "bad-redirect", "token-error", "login-page"] {
        assert!(diagnosis.ids("PASS").contains(&id), "{id}");
    }
    assert!(
        diagnosis.report["notes"].to_string().contains("--login"),
        "{}",
        diagnosis.report["notes"]
    );
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_fails_the_login_check() -> Result<()> {
    let clinic = Clinic::open().await?;
    let password = clinic.gateway.folder().join("wrong");
    std::fs::write(&password, "not the password\n")?;
    let password = password.display().to_string();
    let diagnosis = clinic
        .examine(&["--quick", "--login", "alice", "--password-file", &password])
        .await?;
    assert_eq!(diagnosis.ids("FAIL"), ["login"], "{:#}", diagnosis.report);
    assert!(!diagnosis.report.to_string().contains("not the password"));
    Ok(())
}

#[tokio::test]
async fn over_tls_a_healthy_gateway_passes_every_check_of_the_network() -> Result<()> {
    let certificates = Certificates::make("IP:127.0.0.1", 90)?;
    let front = TlsFront::start(&certificates).await?;
    let setup = Setup {
        public_url: Some(front.origin()),
        ..Setup::default()
    };
    let gateway = Gateway::start(setup).await?;
    front.front(gateway.address());
    let url = format!("{}/mcp", front.origin());
    let authority = certificates.authority().display().to_string();
    let password = gateway.folder().join("password");
    std::fs::write(&password, Owner::alice().password)?;
    let password = password.display().to_string();
    let who = ["--login", "alice", "--password-file", &password];
    let arguments = [
        &[url.as_str(), "--json", "--quick", "--ca-file", &authority][..],
        &who,
    ]
    .concat();
    let diagnosis = diagnose(&arguments).await?;
    assert_eq!(diagnosis.unwell(), [""; 0]);
    for id in [
        "https",
        "tls-version",
        "tls-certificate",
        "login",
        "tools-list",
        "sse-buffering",
    ] {
        assert!(
            diagnosis.ids("PASS").contains(&id),
            "{id}: {:#}",
            diagnosis.report
        );
    }

    let trusting_nobody = diagnose(&[&url, "--json"]).await?;
    assert_eq!(trusting_nobody.ids("FAIL"), ["tls-certificate"]);
    let plain = diagnose(&[&url.replace("https:", "http:"), "--json"]).await?;
    assert!(
        plain.ids("FAIL").contains(&"protected-resource-metadata"),
        "{:#}",
        plain.report
    );
    Ok(())
}

#[tokio::test]
async fn a_bad_certificate_is_told_from_a_port_without_tls() -> Result<()> {
    for (name, days, verdict) in [
        ("IP:127.0.0.1", -1, "FAIL"),
        ("DNS:mcp.example.com", 90, "FAIL"),
        ("IP:127.0.0.1", 3, "WARN"),
    ] {
        let certificates = Certificates::make(name, days)?;
        let front = TlsFront::start(&certificates).await?;
        let url = format!("{}/mcp", front.origin());
        let authority = certificates.authority().display().to_string();
        let diagnosis = diagnose(&[&url, "--json", "--ca-file", &authority]).await?;
        assert!(
            diagnosis.ids(verdict).contains(&"tls-certificate"),
            "{name}: {:#}",
            diagnosis.report
        );
    }
    let clinic = Clinic::open().await?;
    let url = format!("https://{}/mcp", clinic.broken.address);
    let diagnosis = diagnose(&[&url, "--json"]).await?;
    assert_eq!(
        diagnosis.ids("FAIL"),
        ["tls-version"],
        "{:#}",
        diagnosis.report
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_one_check() -> Result<()> {
    let url = format!("http://127.0.0.1:{}/mcp", free_port());
    let diagnosis = diagnose(&[&url, "--json"]).await?;
    assert_eq!(diagnosis.ids("FAIL"), ["connects"]);
    assert_eq!(diagnosis.code, 2);
    Ok(())
}

#[tokio::test]
async fn what_is_no_mcp_url_is_refused_before_anything_is_asked() -> Result<()> {
    for url in [
        "mcp.example.com",
        "ftp://mcp.example.com/mcp",
        "https://mcp.example.com/mcp?x=1",
    ] {
        let (code, printed, errors) = doctor(&[url]).await?;
        assert_eq!((code, printed.as_str()), (64, ""), "{url}");
        assert!(errors.contains(url), "{errors}");
    }
    Ok(())
}

#[tokio::test]
async fn with_a_token_nobody_logs_in_and_the_token_stays_good() -> Result<()> {
    let gateway = Gateway::start(Setup::default()).await?;
    let create = [
        "token",
        "create",
        "--user",
        "alice",
        "--name",
        "doctor",
        "--all-tools",
    ];
    let token = tests::operator::done(&gateway, &create, "").await?.out;
    let file = gateway.folder().join("token");
    std::fs::write(&file, &token)?;
    let (url, file) = (gateway.url("/mcp"), file.display().to_string());
    for way in [["--token", token.trim()], ["--token-file", &file]] {
        let said = diagnose(&[&url, "--json", "--quick", way[0], way[1]]).await?;
        assert!(said.code < 2, "{}", said.report);
        let report = said.report.to_string();
        assert!(report.contains("A token was given"), "{report}");
        assert!(!report.contains(token.trim()), "{report}");
    }
    let (code, _, _) = doctor(&[&url, "--json", "--quick", "--token", "cupgw_nothing"]).await?;
    assert_eq!(code, 2, "a token that is none");
    Ok(())
}
