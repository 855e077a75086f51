//! One of the two processes is a script: what it says, or does not, leaves one gateway that serves, and never
//! two.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::fixture::Fixture;
use tests::gateway::{Gateway, Setup};
use tests::mcp::{initialize, send};
use tests::program::{Program, binary, free_port, signal};
use tests::sse::EventStream;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::{PATIENCE, ends};

/// One end of a conversation.
struct Lines(BufReader<UnixStream>);

impl Lines {
    async fn to(socket: &Path) -> Result<Self> {
        Ok(Self(BufReader::new(UnixStream::connect(socket).await?)))
    }

    async fn say(&mut self, message: &Value) -> Result<()> {
        let line = format!("{message}\n");
        Ok(self.0.get_mut().write_all(line.as_bytes()).await?)
    }

    /// The next line; nothing, where the other end says no more.
    async fn hear(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await?;
        // A connection that is cut says nothing, either.
        Ok((read.unwrap_or(0) > 0)
            .then(|| serde_json::from_str(&line))
            .transpose()?)
    }
}

/// Which process serves, as whoever listens there says.
async fn who(socket: &Path) -> Result<Option<Value>> {
    let mut lines = Lines::to(socket).await?;
    lines.say(&json!({"who": null})).await?;
    lines.hear().await
}

/// A gateway that is not there, whose place a script has.
struct Nobody {
    folder: tempfile::TempDir,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Nobody {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (listen, admin) = (address(), address());
        let state = folder.path().join("state");
        std::fs::create_dir(&state)?;
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700))?;
        let text = format!(
            "public_url = \"http://{listen}\"\nlisten = [\"{listen}\"]\nadmin_listen = \"{admin}\"\n\
             [store]\nurl = \"file:{}\"\n[[backend]]\nurl = \"http://127.0.0.1:9\"\n",
            state.display()
        );
        std::fs::write(folder.path().join("gateway.toml"), text)?;
        Ok(Self {
            folder,
            listen,
            admin,
        })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("state/upgrade.sock")
    }

    /// A new process, and the conversation with it after its first line.
    async fn asked(&self) -> Result<(Program, Lines)> {
        let listener = UnixListener::bind(self.socket())?;
        let config = self.folder.path().join("gateway.toml");
        let words = [
            "serve",
            "--upgrade",
            "--config",
            &config.display().to_string(),
        ];
        let new = Program::start(&binary("gateway"), self.folder.path(), &words, &[])?;
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
        let (stream, _) = accepted.with_context(|| new.last_words())??;
        let mut lines = Lines(BufReader::new(stream));
        let hello = lines.hear().await?.context("no hello")?;
        assert_eq!(hello["upgrade"], 1);
        Ok((new, lines))
    }

    /// Offers nothing at all, until it is taken.
    async fn taken(&self) -> Result<(Program, Lines)> {
        let (new, mut lines) = self.asked().await?;
        let offer = json!({
            "version": "0.0.1", "process": std::process::id(), "addresses": [], "programs": [],
            "notify": null
        });
        lines.say(&json!({"offer": offer})).await?;
        assert_eq!(
            lines.hear().await?,
            Some(json!("take")),
            "{}",
            new.last_words()
        );
        Ok((new, lines))
    }
}

async fn ended_with(mut new: Program, code: i32) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    while new.ended().is_none() {
        ensure!(Instant::now() < deadline, "{}", new.last_words());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(new.ended() == Some(code), "{}", new.last_words());
    Ok(new.stderr.to_the_end(PATIENCE).await.join("\n"))
}

#[tokio::test]
async fn a_new_process_listens_everywhere_before_it_takes_over() -> Result<()> {
    let nobody = Nobody::new()?;
    let (_new, _lines) = nobody.taken().await?;
    for address in [nobody.listen, nobody.admin] {
        let error = TcpListener::bind(address).err();
        let error = error.with_context(|| format!("nobody has {address}"))?;
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
    Ok(())
}

#[tokio::test]
async fn a_refusal_that_came_before_the_new_process_served_is_heard() -> Result<()> {
    let nobody = Nobody::new()?;
    let (new, mut lines) = nobody.taken().await?;
    lines.say(&json!("given")).await?;
    // It took too long for the old one, which said so and listens no more.
    lines.say(&json!({"refused": "it took too long"})).await?;
    drop(lines);
    ended_with(new, 69).await?;
    Ok(())
}

#[tokio::test]
async fn where_the_old_process_runs_on_without_a_word_the_new_one_ends() -> Result<()> {
    let nobody = Nobody::new()?;
    let (new, mut lines) = nobody.taken().await?;
    lines.say(&json!("given")).await?;
    drop(lines);
    let said = ended_with(new, 69).await?;
    ensure!(said.contains("does not say that it has left"), "{said}");
    Ok(())
}

#[tokio::test]
async fn who_serves_is_said_only_by_a_process_that_does() -> Result<()> {
    let nobody = Nobody::new()?;
    let (new, mut lines) = nobody.taken().await?;
    lines.say(&json!("given")).await?;
    let serving = lines.hear().await?.context("it said nothing")?;
    assert_eq!(serving["serving"]["process"], new.id().context("it ended")?);
    assert_eq!(who(&nobody.socket()).await?, None);
    lines.say(&json!("left")).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match who(&nobody.socket()).await? {
            Some(me) => {
                assert_eq!(me["process"], new.id().context("it ended")?);
                return Ok(());
            }
            None => ensure!(Instant::now() < deadline, "{}", new.last_words()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A gateway that serves, to be asked by a script.
async fn some_gateway(setup: Setup) -> Result<Gateway> {
    Gateway::start(Setup {
        only_more: true,
        more: "[[backend]]\nurl = \"http://127.0.0.1:9\"\n".to_owned(),
        hasty: true,
        ..setup
    })
    .await
}

fn hello(gateway: &Gateway) -> Result<Value> {
    let state = std::fs::canonicalize(gateway.folder().join("state"))?;
    let store = format!("file:{}", state.display());
    Ok(json!({"upgrade": 1, "version": "9.9.9", "store": store}))
}

#[tokio::test]
async fn a_new_process_that_fails_and_does_not_end_is_killed_before_the_old_one_goes_on()
-> Result<()> {
    let mut fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let socket = fixture.gateway.folder().join("state/upgrade.sock");
    // It takes everything, says nothing that can be understood, and stays.
    let script = format!(
        "use IO::Socket::UNIX; $| = 1; \
         my $s = IO::Socket::UNIX->new(Peer => '{}') or die; \
         print $s '{}' . \"\\n\"; my $offer = <$s>; \
         print $s '\"take\"' . \"\\n\"; my $given = <$s>; print $given; \
         print $s '\"what\"' . \"\\n\"; sleep 600;",
        socket.display(),
        hello(&fixture.gateway)?
    );
    let words = ["-e", &script];
    let folder = fixture.gateway.folder();
    let mut new = Program::start(Path::new("/usr/bin/perl"), &folder, &words, &[])?;
    let given = new
        .stdout
        .wait(PATIENCE, |line| line.contains("given"))
        .await;
    given.with_context(|| new.last_words())?;
    // A token that is known is good meanwhile.
    let url = fixture.url("/mcp");
    assert_eq!(send(&url, &token, &initialize()).await?.status, 200);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Whoever says so says it after the end of the other.
        let said = fixture.gateway.log().join("\n");
        let has_ended = new.ended().is_some();
        let goes_on = said.contains("this one serves on");
        ensure!(has_ended || !goes_on, "it went on: {said}");
        if has_ended {
            break;
        }
        ensure!(Instant::now() < deadline, "{said}");
    }
    assert_eq!(new.ended(), Some(-1), "a signal");
    let client = fixture.client("Later").await?;
    client.sign_in(&fixture.owner).await?;
    fixture.gateway.logged("it is killed").await?;
    // The next one takes over.
    let mut old = fixture.gateway.upgrade().await?;
    ends(&mut old).await
}

#[tokio::test]
async fn a_process_that_left_hands_over_no_more() -> Result<()> {
    let mut gateway = some_gateway(Setup::default()).await?;
    // A connection that was there before.
    let socket = gateway.folder().join("state/upgrade.sock");
    let mut lines = Lines::to(&socket).await?;
    let hello = hello(&gateway)?;
    let _old = gateway.upgrade().await?;
    lines.say(&hello).await?;
    let answer = lines.hear().await?.context("no answer")?;
    let refused = answer["refused"]
        .as_str()
        .with_context(|| answer.to_string())?;
    ensure!(
        refused.contains("another process has taken over"),
        "{refused}"
    );
    Ok(())
}

#[tokio::test]
async fn the_first_process_of_a_container_does_not_hand_over() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let wrapper = folder.path().join("contained");
    let gateway = binary("gateway");
    // With a list of processes of its own, as in a container.
    let how = if is_root() {
        ""
    } else {
        "--user --map-root-user"
    };
    let text = format!(
        "#!/bin/sh\nexec unshare {how} --pid --fork --kill-child {} \"$@\"\n",
        gateway.display()
    );
    std::fs::write(&wrapper, text)?;
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
    let mut contained = some_gateway(Setup {
        program: Some(wrapper),
        ..Setup::default()
    })
    .await?;
    let said = ended_with(contained.upgrading()?, 69).await?;
    ensure!(
        said.contains("first process of its container") && said.contains("run replicas"),
        "{said}"
    );
    // unshare(1) minds no polite signal; its child ends with it.
    contained.program().kill().await
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self")
        .is_ok_and(|about| std::os::unix::fs::MetadataExt::uid(&about) == 0)
}

/// Only root can be two users.
#[tokio::test]
async fn root_does_not_take_over_from_a_gateway_of_another_user() -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let wrapper = folder.path().join("as-nobody");
    let text = format!(
        "#!/bin/sh\nexec setpriv --reuid 65534 --regid 65534 --clear-groups {} \"$@\"\n",
        binary("gateway").display()
    );
    std::fs::write(&wrapper, text)?;
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
    let home = tempfile::tempdir()?;
    std::os::unix::fs::chown(home.path(), Some(65534), Some(65534))?;
    let mut gateway = some_gateway(Setup {
        program: Some(wrapper),
        folder: Some(home),
        owner: None,
        ..Setup::default()
    })
    .await?;
    let said = ended_with(gateway.upgrading()?, 69).await?;
    ensure!(
        said.contains("runs as another user") && said.contains("systemctl reload"),
        "{said}"
    );
    let socket = gateway.folder().join("state/upgrade.sock");
    let me = who(&socket).await?.context("it does not answer")?;
    assert_eq!(me["process"], gateway.process_id().context("it ended")?);
    gateway.stop().await
}

/// While the new one answers nothing, which the old one asks on its way out.
#[tokio::test]
async fn a_process_that_left_ends_when_it_is_told_to_whatever_it_does() -> Result<()> {
    let mut fixture = Fixture::start().await?;
    let (_, token) = fixture.signed_in().await?;
    let request = tests::http::client().get(fixture.url("/mcp"));
    let mut stream = EventStream::open(request.bearer_auth(&token)).await?;
    fixture.backend.await_streams(1, PATIENCE).await?;
    // So that there is something to write down.
    let url = fixture.url("/mcp");
    assert_eq!(send(&url, &token, &initialize()).await?.status, 200);
    let mut old = fixture.gateway.upgrade().await?;
    let new = fixture.gateway.process_id().context("it ended")?;
    signal(new, "STOP").await?;
    signal(old.id().context("it ended")?, "TERM").await?;
    let ended = stream.end(PATIENCE).await;
    signal(new, "CONT").await?;
    ensure!(ended?, "the stream was cut");
    ends(&mut old).await
}

#[tokio::test]
async fn a_program_that_was_adopted_ends_with_its_new_owner() -> Result<()> {
    let mut gateway = Gateway::start(Setup {
        only_more: true,
        // It minds neither the end of its input nor a polite signal.
        more: "[[backend]]\nurl = \"http://127.0.0.1:9\"\n\
               command = [\"sh\", \"-c\", \"trap '' TERM HUP; while :; do sleep 1; done\"]\n"
            .to_owned(),
        hasty: true,
        ..Setup::default()
    })
    .await?;
    let started = async |gateway: &Gateway| -> Result<u64> {
        let line = gateway.logged("\"backend_started\"").await?;
        let line: Value = serde_json::from_str(&line)?;
        line["pid"].as_u64().context("no number")
    };
    let process = started(&gateway).await?;
    let mut old = gateway.upgrade().await?;
    ends(&mut old).await?;
    assert_eq!(started(&gateway).await?, process, "it was adopted");
    gateway.stop().await?;
    // It was our child's, and is nobody's now: what is left of it is its state.
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let is_gone = state.is_empty() || state.contains(") Z ");
    ensure!(is_gone, "it runs on: {state}");
    Ok(())
}
