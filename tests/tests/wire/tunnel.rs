//! `gateway serve --tunnel`. The real programs need the internet, and ngrok and Tailscale an account, so
//! stand-ins that print what those print are started here; what passes through a tunnel is tested with
//! the proxies of other tests.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tests::http;
use tests::program::{Program, binary, free_port, signal};
use tests::recorder::Recorder;
use tests::scripted_mcp;

const PATIENCE: Duration = Duration::from_secs(20);

const CLOUDFLARED: &str = "#!/bin/sh
echo \"$@\" > arguments
echo $$ > pid
echo '2026-11-29T20:00:00Z INF Requesting new quick Tunnel on trycloudflare.com...' >&2
echo '2026-11-29T20:00:01Z INF +--------------------------------------------------------+' >&2
echo '2026-11-29T20:00:01Z INF |  Your quick Tunnel has been created! Visit it at:      |' >&2
echo \"2026-11-29T20:00:01Z INF |  https://$(cat name).trycloudflare.com                 |\" >&2
exec sleep 600
";

const NGROK: &str = "#!/bin/sh
echo \"$@\" > arguments
echo $$ > pid
echo 't=2026-11-29T20:00:00+0000 lvl=info msg=\"starting web service\" obj=web addr=127.0.0.1:4040'
echo 't=2026-11-29T20:00:01+0000 lvl=info msg=\"started tunnel\" obj=tunnels name=command_line addr=http://127.0.0.1 url=https://1a2b.ngrok-free.app'
exec sleep 600
";

const TAILSCALE: &str = "#!/bin/sh
echo \"$@\" > arguments
echo $$ > pid
printf 'Available on the internet:\\n\\nhttps://machine.tail1234.ts.net/\\n|-- proxy http://127.0.0.1\\n\\nPress Ctrl+C to exit.\\n'
exec sleep 600
";

/// A folder with stand-ins on the PATH.
struct Stand {
    folder: TempDir,
    port: u16,
    backend: Recorder,
}

impl Stand {
    async fn with(programs: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("name"), "brave-small-words")?;
        for (name, script) in programs {
            let path = folder.path().join(name);
            std::fs::write(&path, script)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
        let backend = Recorder::start(scripted_mcp::answer).await?;
        Ok(Self {
            folder,
            port: free_port(),
            backend,
        })
    }

    fn serve(&self, tunnel: &str) -> Result<Program> {
        self.serve_at(tunnel, &format!("127.0.0.1:{}", self.port))
    }

    fn serve_at(&self, tunnel: &str, listen: &str) -> Result<Program> {
        let words = [
            "serve".to_owned(),
            tunnel.to_owned(),
            format!("--listen={listen}"),
            format!("--admin-listen=127.0.0.1:{}", free_port()),
            format!("--backend={}", self.backend.url()),
        ];
        let path = format!("{}:/usr/bin:/bin", self.folder.path().display());
        let environment = [("PATH".to_owned(), path)];
        Program::start(&binary("gateway"), self.folder.path(), &words, &environment)
    }

    fn pid(&self) -> Result<u32> {
        let text = std::fs::read_to_string(self.folder.path().join("pid"))?;
        Ok(text.trim().parse()?)
    }

    fn arguments(&self) -> Result<String> {
        Ok(std::fs::read_to_string(
            self.folder.path().join("arguments"),
        )?)
    }

    /// The issuer that it publishes on its listener.
    async fn issuer(&self) -> Result<String> {
        let url = format!(
            "http://127.0.0.1:{}/.well-known/oauth-authorization-server",
            self.port
        );
        // It prints before it listens.
        for _ in 0..100 {
            if http::get(&url).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let metadata = http::get(&url).await?.json();
        Ok(metadata["issuer"].as_str().context("no issuer")?.to_owned())
    }
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

async fn gone(pid: u32) -> Result<()> {
    for _ in 0..100 {
        if !is_there(pid) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{pid} is still there")
}

#[tokio::test]
async fn the_url_that_a_program_prints_is_the_public_one_and_it_ends_with_the_gateway() -> Result<()>
{
    for (name, script, url, words, limit) in [
        (
            "cloudflared",
            CLOUDFLARED,
            "https://brave-small-words.trycloudflare.com",
            "tunnel --no-autoupdate --url http://127.0.0.1:PORT",
            "its name changes with every start",
        ),
        (
            "ngrok",
            NGROK,
            "https://1a2b.ngrok-free.app",
            "http http://127.0.0.1:PORT --log stdout --log-format logfmt",
            "a page of ngrok's",
        ),
        (
            "tailscale",
            TAILSCALE,
            "https://machine.tail1234.ts.net",
            "funnel http://127.0.0.1:PORT",
            "443, 8443 and 10000",
        ),
    ] {
        let stand = Stand::with(&[(name, script)]).await?;
        for tunnel in [format!("--tunnel={name}"), "--tunnel".to_owned()] {
            let mut gateway = stand.serve(&tunnel)?;
            let printed = gateway
                .stdout
                .wait(PATIENCE, |line| line.contains("/setup?code="))
                .await;
            let printed = printed.with_context(|| gateway.last_words())?;
            assert!(printed.contains(&format!("{url}/setup?code=")), "{printed}");
            let all = gateway.stdout.all().join("\n");
            assert!(
                all.contains(&format!("✓ tunnel     {name} leads {url} here")),
                "{all}"
            );
            assert!(all.contains(limit), "{all}");
            assert_eq!(stand.issuer().await?, url);
            let expected = words.replace("PORT", &stand.port.to_string());
            assert_eq!(stand.arguments()?.trim(), expected);
            let pid = stand.pid()?;
            assert!(is_there(pid));
            assert_eq!(gateway.terminate(Duration::from_secs(15)).await?, 0);
            gone(pid).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_tunnel_that_ends_is_started_again_and_another_url_ends_the_gateway() -> Result<()> {
    let stand = Stand::with(&[("cloudflared", CLOUDFLARED)]).await?;
    let mut gateway = stand.serve("--tunnel")?;
    let begun = gateway
        .stdout
        .wait(PATIENCE, |line| line.contains("/setup?code="))
        .await;
    begun.with_context(|| gateway.last_words())?;
    let first = stand.pid()?;
    signal(first, "KILL").await?;
    let back = gateway
        .stderr
        .wait(PATIENCE, |line| line.contains("tunnel_back"))
        .await;
    back.with_context(|| gateway.last_words())?;
    let second = stand.pid()?;
    assert_ne!(first, second);
    assert_eq!(
        stand.issuer().await?,
        "https://brave-small-words.trycloudflare.com"
    );
    std::fs::write(stand.folder.path().join("name"), "other-words")?;
    signal(second, "KILL").await?;
    let moved = gateway
        .stderr
        .wait(PATIENCE, |line| line.contains("tunnel_moved"))
        .await;
    moved.with_context(|| gateway.last_words())?;
    for _ in 0..400 {
        if let Some(code) = gateway.ended() {
            assert_ne!(code, 0);
            let said = gateway.stderr.to_the_end(PATIENCE).await.join("\n");
            assert!(
                said.contains("error: the tunnel came back with another URL"),
                "{said}"
            );
            return gone(stand.pid()?).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("it goes on\n{}", gateway.last_words())
}

#[tokio::test]
async fn a_tunnel_that_does_not_open_is_an_error_with_what_it_said() -> Result<()> {
    let failing = "#!/bin/sh\necho 'ERR_NGROK_4018: authentication failed' >&2\nexit 1\n";
    for (programs, tunnel, said) in [
        (vec![], "--tunnel", "there is none: install one"),
        (vec![], "--tunnel=ngrok", "ngrok can't be started"),
        (vec![("ngrok", failing)], "--tunnel", "ERR_NGROK_4018"),
        (vec![("ngrok", failing)], "--tunnel", "add-authtoken"),
    ] {
        let stand = Stand::with(&programs).await?;
        let mut gateway = stand.serve(tunnel)?;
        let line = gateway
            .stderr
            .wait(PATIENCE, |line| line.contains(said))
            .await;
        line.with_context(|| format!("{said}\n{}", gateway.last_words()))?;
        for _ in 0..100 {
            if gateway.ended().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(gateway.ended().is_some_and(|code| code != 0));
    }
    Ok(())
}

/// The id that a program wrote down as it began.
async fn begun(stand: &Stand) -> Result<u32> {
    for _ in 0..400 {
        if let Ok(pid) = stand.pid() {
            return Ok(pid);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("no tunnel was started")
}

async fn exit_code(gateway: &mut Program) -> Result<i32> {
    for _ in 0..400 {
        if let Some(code) = gateway.ended() {
            return Ok(code);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("it goes on\n{}", gateway.last_words())
}

#[tokio::test]
async fn a_gateway_that_is_told_to_end_before_it_serves_leaves_no_tunnel_behind() -> Result<()> {
    // One that has no URL to show yet.
    let silent = "#!/bin/sh\necho $$ > pid\nexec sleep 600\n";
    let stand = Stand::with(&[("cloudflared", silent)]).await?;
    let mut gateway = stand.serve("--tunnel")?;
    let pid = begun(&stand).await?;
    signal(gateway.id().context("it ended")?, "TERM").await?;
    assert_eq!(exit_code(&mut gateway).await?, 0);
    gone(pid).await?;
    // Wherever it stands between the URL and the first connection.
    for milliseconds in [0, 10, 20, 40, 80, 160, 320] {
        let stand = Stand::with(&[("cloudflared", CLOUDFLARED)]).await?;
        let mut gateway = stand.serve("--tunnel")?;
        let pid = begun(&stand).await?;
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        signal(gateway.id().context("it ended")?, "TERM").await?;
        assert_eq!(exit_code(&mut gateway).await?, 0, "{milliseconds}");
        gone(pid).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_program_that_prints_no_lines_and_no_text_costs_little_and_is_read_on() -> Result<()> {
    // 64 MiB without the end of a line, half of them no text, and then the URL.
    let loud = format!(
        "#!/bin/sh\nhead -c 33554432 /dev/zero | tr '\\0' '\\377'\nhead -c 33554432 /dev/zero\necho\n{}",
        CLOUDFLARED.replace("#!/bin/sh\n", "").replace(
            "exec sleep",
            "head -c 33554432 /dev/zero\nprintf '\\377\\n' && touch done\nexec sleep"
        )
    );
    let stand = Stand::with(&[("cloudflared", &loud)]).await?;
    let mut gateway = stand.serve("--tunnel")?;
    let printed = gateway
        .stdout
        .wait(PATIENCE, |line| line.contains("/setup?code="))
        .await;
    printed.with_context(|| gateway.last_words())?;
    // What it prints afterwards is taken from it, too, or it would wait for ever.
    let done = stand.folder.path().join("done");
    for _ in 0..200 {
        if done.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(done.exists(), "it was not read on");
    let status = std::fs::read_to_string(format!(
        "/proc/{}/status",
        gateway.id().context("it ended")?
    ))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.split_whitespace().next());
    let peak: u64 = peak.context("no VmHWM line")?.parse()?;
    assert!(peak < 150 * 1024, "{peak} KiB");
    assert_eq!(gateway.terminate(Duration::from_secs(15)).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_tunnel_that_would_lead_to_nobody_is_refused_before_it_is_started() -> Result<()> {
    for listen in ["127.0.0.2:PORT", "[::1]:PORT", "127.0.0.1:0"] {
        let stand = Stand::with(&[("cloudflared", CLOUDFLARED)]).await?;
        let listen = listen.replace("PORT", &stand.port.to_string());
        let mut gateway = stand.serve_at("--tunnel", &listen)?;
        assert_ne!(exit_code(&mut gateway).await?, 0, "{listen}");
        let said = gateway.stderr.to_the_end(PATIENCE).await.join("\n");
        assert!(
            said.contains("no address of `listen` is reached there"),
            "{said}"
        );
        assert!(stand.pid().is_err(), "{listen}: it was started");
    }
    Ok(())
}
