//! What systemd and the gateway tell each other: sockets that were open before, readiness, reloads, the
//! stop, credentials; and the unit of `conf/systemd`, as systemd's own programs judge it.

mod terminal;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tests::gateway::{Gateway, Owner, Setup};
use tests::http;
use tests::oauth::OAuthClient;
use tests::program::{self, Program, binary, free_port, run, signal, workspace};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// As long as something may take that has to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The configuration of a gateway that starts without anything beside it.
fn configuration(folder: &Path, listen: SocketAddr, admin: SocketAddr) -> Result<String> {
    let file = folder.join("gateway.toml");
    let text = format!(
        "public_url = \"http://{listen}\"\nlisten = [\"{listen}\"]\nadmin_listen = \"{admin}\"\n\
         [store]\nurl = \"file:{}/state\"\n[[backend]]\nname = \"away\"\nurl = \"http://127.0.0.1:9\"\n",
        folder.display()
    );
    std::fs::write(&file, text)?;
    Ok(file.display().to_string())
}

fn address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

/// The lines of the next message to the service manager.
fn told(socket: &UnixDatagram) -> Result<Vec<String>> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).context("nothing was told")?;
    let text = std::str::from_utf8(&bytes[..length])?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn microseconds(line: Option<&String>, name: &str) -> Result<u64> {
    let line = line.with_context(|| format!("no {name}"))?;
    let value = line.strip_prefix(name).context("another line")?;
    Ok(value.parse()?)
}

/// Of the clock since the start of the machine.
fn uptime() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    let seconds: f64 = text.split(' ').next().context("no uptime")?.parse()?;
    Ok((seconds * 1e6) as u64)
}

async fn tells(socket: UnixDatagram, name: &str) -> Result<()> {
    let policy = tempfile::tempdir()?;
    let file = policy.path().join("rules.biscuit");
    std::fs::write(&file, "allow if true;\n")?;
    let mut gateway = Gateway::start(Setup {
        environment: vec![("NOTIFY_SOCKET".to_owned(), name.to_owned())],
        more: format!("[policy]\nfile = \"{}\"\n", file.display()),
        ..Setup::default()
    })
    .await?;
    let ready = told(&socket)?;
    let serving = format!("STATUS=serving {}", gateway.issuer());
    assert_eq!(ready, ["READY=1".to_owned(), serving]);

    signal(gateway.process_id().context("it ended")?, "HUP").await?;
    let reloading = told(&socket)?;
    assert_eq!(reloading[0], "RELOADING=1");
    let at = microseconds(reloading.get(1), "MONOTONIC_USEC=")?;
    // Where the machine slept, one of the two clocks did not go.
    ensure!(at <= uptime()? + 100_000, "{at} after {}", uptime()?);
    assert_eq!(told(&socket)?, ["READY=1"]);

    gateway.program().terminate(PATIENCE).await?;
    let stopping = told(&socket)?;
    assert_eq!(stopping[0], "STOPPING=1");
    let longest = microseconds(stopping.get(1), "EXTEND_TIMEOUT_USEC=")?;
    ensure!(
        longest > 10_000_000,
        "less than timeouts.shutdown: {longest}"
    );
    ensure!(stopping[2].starts_with("STATUS=stopping"), "{stopping:?}");
    Ok(())
}

#[tokio::test]
async fn systemd_is_told_of_readiness_reloads_and_the_stop() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    tells(socket, &path.display().to_string()).await
}

#[tokio::test]
async fn systemd_is_told_over_an_abstract_socket_too() -> Result<()> {
    let name = format!("gateway-test-{}-{}", std::process::id(), free_port());
    let socket = UnixDatagram::bind_addr(&UnixAddress::from_abstract_name(&name)?)?;
    tells(socket, &format!("@{name}")).await
}

/// A gateway that was given neither a file of configuration nor a policy nor a certificate, and where it is
/// asked for its health.
fn bare(
    folder: &Path,
    start: impl FnOnce(&[(String, String)]) -> Result<Program>,
) -> Result<(Program, String)> {
    let admin = address();
    let environment = [
        ("GATEWAY__LISTEN", address().to_string()),
        ("GATEWAY__ADMIN_LISTEN", admin.to_string()),
        ("GATEWAY__BACKEND__0__URL", "http://127.0.0.1:9".to_owned()),
        (
            "GATEWAY__STORE__URL",
            format!("file:{}/state", folder.display()),
        ),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value));
    Ok((start(&environment)?, format!("http://{admin}/healthz")))
}

async fn until(program: &Program, what: impl AsyncFn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !what().await {
        ensure!(Instant::now() < deadline, "{}", program.last_words());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn is_healthy(health: &str) -> bool {
    let reply = http::get(health).await;
    reply.is_ok_and(|reply| reply.status == 200)
}

#[tokio::test]
async fn sighup_ends_no_gateway_that_has_nothing_to_read_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let start = |environment: &[(String, String)]| {
        Program::start(&binary("gateway"), folder.path(), &["serve"], environment)
    };
    let (mut program, health) = bare(folder.path(), start)?;
    until(&program, async || is_healthy(&health).await).await?;
    signal(program.id().context("it ended")?, "HUP").await?;
    let said = async || {
        let said = program.stderr.all();
        said.iter().any(|line| line.contains("policy_absent"))
    };
    until(&program, said).await?;
    ensure!(is_healthy(&health).await, "{}", program.last_words());
    assert_eq!(program.terminate(PATIENCE).await?, 0);
    Ok(())
}

/// Starts a gateway that must refuse to, and gives its exit code and what it said.
async fn refused(variables: &[(&str, &str)], config: &str, folder: &Path) -> Result<(i32, String)> {
    let environment: Vec<_> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let words = ["serve", "--config", config];
    let program = Program::start(&binary("gateway"), folder, &words, &environment)?;
    ended(program).await
}

async fn ended(mut program: Program) -> Result<(i32, String)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(code) = program.ended() {
            let said = program.stderr.to_the_end(PATIENCE).await;
            return Ok((code, said.join("\n")));
        }
        ensure!(Instant::now() < deadline, "{}", program.last_words());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_contradicts_itself_in_the_environment_of_systemd_ends_the_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = configuration(folder.path(), address(), address())?;
    let variables = [("NOTIFY_SOCKET", "vsock:2:1234")];
    let (code, said) = refused(&variables, &config, folder.path()).await?;
    assert_eq!(code, 64, "{said}");
    ensure!(said.contains("NOTIFY_SOCKET is"), "{said}");
    Ok(())
}

/// `systemd-socket-activate`, which listens, and becomes the gateway with the first connection.
fn activated(words: &[String], config: &str, folder: &Path) -> Result<Program> {
    let mut arguments = words.to_vec();
    if let Ok(lane) = std::env::var("GATEWAY_LANE") {
        arguments.push(format!("--setenv=GATEWAY_LANE={lane}"));
    }
    arguments.push(binary("gateway").display().to_string());
    arguments.extend(["serve", "--config", config].map(str::to_owned));
    Program::start(
        Path::new("systemd-socket-activate"),
        folder,
        &arguments,
        &[],
    )
}

async fn connected(address: SocketAddr) -> Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// What this connection is answered.
async fn health(mut stream: TcpStream) -> Result<String> {
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await??;
    Ok(answer)
}

#[tokio::test]
async fn sockets_that_systemd_opened_are_served() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (listen, admin) = (address(), address());
    let config = configuration(folder.path(), listen, admin)?;
    let words = [
        format!("--listen={listen}"),
        format!("--listen={admin}"),
        "--fdname=public:admin".to_owned(),
    ];
    let mut program = activated(&words, &config, folder.path())?;
    // It was there before the gateway, and is answered all the same.
    let answer = health(connected(listen).await?).await?;
    ensure!(
        answer.starts_with("HTTP/1.1 200"),
        "{answer}\n{}",
        program.last_words()
    );
    let reply = http::get(&format!("http://{admin}/healthz")).await?;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // These are the same sockets, and no others: nobody opened one again.
    let said = program.stderr.all().join("\n");
    ensure!(!said.contains("is in use"), "{said}");
    assert_eq!(
        program.terminate(PATIENCE).await?,
        0,
        "{}",
        program.last_words()
    );
    Ok(())
}

#[tokio::test]
async fn a_socket_whose_address_is_not_configured_is_refused_with_both_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (listen, admin, stray) = (address(), address(), address());
    let config = configuration(folder.path(), listen, admin)?;
    let words = [format!("--listen={stray}"), "--fdname=public".to_owned()];
    let program = activated(&words, &config, folder.path())?;
    drop(connected(stray).await?);
    let (code, said) = ended(program).await?;
    assert_eq!(code, 69, "{said}");
    for part in [
        "`public`",
        &stray.to_string(),
        &listen.to_string(),
        "ListenStream=",
    ] {
        ensure!(said.contains(part), "{part}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_socket_that_takes_no_connections_of_tcp_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (listen, admin) = (address(), address());
    let config = configuration(folder.path(), listen, admin)?;
    let words = ["--datagram".to_owned(), format!("--listen={listen}")];
    let program = activated(&words, &config, folder.path())?;
    let sender = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let deadline = Instant::now() + PATIENCE;
    // Until it listens, this is lost.
    while Instant::now() < deadline
        && program
            .stderr
            .all()
            .iter()
            .all(|line| !line.contains("error:"))
    {
        let _ = sender.send_to(b"x", listen);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (code, said) = ended(program).await?;
    assert_eq!(code, 64, "{said}");
    ensure!(said.contains("takes no connections of TCP"), "{said}");
    Ok(())
}

/// A gateway that is given this socket, as systemd would.
fn given(socket: &TcpListener, config: &str, folder: &Path) -> Result<tokio::process::Child> {
    let mut command = tokio::process::Command::new("sh");
    command
        .args([
            "-c",
            "export LISTEN_PID=$$ LISTEN_FDS=1; exec 3<&0 </dev/null \"$0\" \"$@\"",
        ])
        .arg(binary("gateway"))
        .args(["serve", "--config", config])
        .current_dir(folder)
        .stdin(Stdio::from(OwnedFd::from(socket.try_clone()?)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name != "GATEWAY_LANE" && name.to_string_lossy().starts_with("GATEWAY_") {
            command.env_remove(name);
        }
    }
    Ok(command.spawn()?)
}

#[tokio::test]
async fn a_restart_on_a_socket_of_systemd_refuses_no_connection() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let listen = socket.local_addr()?;
    let config = configuration(folder.path(), listen, address())?;
    let mut connections = 0;
    for _ in 0..3 {
        // While no gateway runs.
        let early = TcpStream::connect(listen).await?;
        let mut child = given(&socket, &config, folder.path())?;
        for stream in [early, TcpStream::connect(listen).await?] {
            let answer = health(stream).await?;
            ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            connections += 1;
        }
        signal(child.id().context("it ended")?, "TERM").await?;
        let status = tokio::time::timeout(PATIENCE, child.wait()).await??;
        ensure!(status.success(), "{status}");
    }
    assert_eq!(connections, 6);
    Ok(())
}

#[tokio::test]
async fn credentials_of_systemd_are_files_of_the_configuration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let owner = Owner::alice();
    let password = format!("{}\n", owner.password);
    let (code, hash, errors) =
        program::run(&binary("gateway"), &["users", "hash"], &password).await?;
    assert_eq!(code, 0, "{errors}");
    std::fs::write(folder.path().join("owner"), hash)?;
    let credentials = folder.path().display().to_string();
    let more =
        "[owner]\nname = \"alice\"\npassword_hash_file = \"${CREDENTIALS_DIRECTORY}/owner\"\n";
    let gateway = Gateway::start(Setup {
        owner: None,
        environment: vec![("CREDENTIALS_DIRECTORY".to_owned(), credentials)],
        more: more.to_owned(),
        ..Setup::default()
    })
    .await?;
    let client = OAuthClient::register(&gateway.origin(), "Client").await?;
    client.sign_in_for(&owner, &gateway.url("/mcp")).await?;

    // Where there are none, it says who gives them.
    let config = folder.path().join("gateway.toml");
    std::fs::write(
        &config,
        format!("[[backend]]\nurl = \"http://127.0.0.1:9\"\n{more}"),
    )?;
    let (code, said) = refused(&[], &config.display().to_string(), folder.path()).await?;
    assert_eq!(code, 64, "{said}");
    ensure!(said.contains("LoadCredential="), "{said}");
    Ok(())
}

/// The files of `conf/systemd` in a folder, started with the binary of these tests.
fn units() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let program = binary("gateway").display().to_string();
    for name in ["cupcake-gateway.service", "cupcake-gateway.socket"] {
        let text = std::fs::read_to_string(workspace().join("conf/systemd").join(name))?;
        let text = text.replace("/usr/bin/gateway", &program);
        std::fs::write(folder.path().join(name), text)?;
    }
    Ok(folder)
}

/// One of systemd's programs about these units; what it said.
async fn analyze(words: &[&str], units: &[std::path::PathBuf]) -> Result<String> {
    let mut arguments: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    arguments.extend(units.iter().map(|unit| unit.display().to_string()));
    let (code, out, errors) = run(Path::new("systemd-analyze"), &arguments, "").await?;
    ensure!(code == 0, "systemd-analyze {words:?}: {out}{errors}");
    Ok(out + &errors)
}

#[tokio::test]
async fn the_units_are_what_systemd_understands_and_calls_safe() -> Result<()> {
    let folder = units()?;
    let service = folder.path().join("cupcake-gateway.service");
    let socket = folder.path().join("cupcake-gateway.socket");
    let said = analyze(&["verify", "--man=no"], &[service.clone(), socket]).await?;
    // It ends well with mere warnings, too.
    assert_eq!(said.trim(), "");
    // Of 100; a unit without a thought for it has 96.
    let words = ["security", "--offline=yes", "--no-pager", "--threshold=15"];
    println!("{}", analyze(&words, &[service]).await?);
    Ok(())
}

#[tokio::test]
async fn unit_socket_and_configuration_of_systemd_agree() -> Result<()> {
    let read = |name: &str| std::fs::read_to_string(workspace().join("conf/systemd").join(name));
    let socket = read("cupcake-gateway.socket")?;
    let config = read("gateway.toml")?;
    let service = read("cupcake-gateway.service")?;
    let listens: Vec<&str> = socket
        .lines()
        .filter_map(|line| line.strip_prefix("ListenStream="))
        .collect();
    assert_eq!(listens, ["127.0.0.1:8080"]);
    ensure!(config.contains("listen = [\"127.0.0.1:8080\"]"), "{config}");
    let state = service
        .lines()
        .find_map(|line| line.strip_prefix("StateDirectory="));
    let folder = format!("file:/var/lib/{}\"", state.context("no StateDirectory")?);
    ensure!(config.contains(&folder), "{folder}");
    Ok(())
}
