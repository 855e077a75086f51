//! The programs that are measured, other than the gateway: the two backends, nginx and
//! HAProxy, each with a configuration of ours, in the foreground, on loopback, on the
//! processors it is given.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tests::program::{self, Program, binary, free_port, workspace};

use crate::{accounts, jwt};

/// A running program and where it listens.
pub(crate) struct Listening {
    /// The program.
    pub(crate) program: Program,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Listening {
    /// The process id.
    pub(crate) fn id(&self) -> Result<u32> {
        self.program.id().context("it has ended")
    }

    /// SIGTERM and, when that is not enough, SIGKILL.
    pub(crate) async fn end(mut self) {
        let patience = Duration::from_secs(5);
        if self.program.terminate(patience).await.is_err() {
            // It may have ended by itself meanwhile.
            let _ = self.program.kill().await;
        }
    }
}

impl Drop for Listening {
    /// Ends its children too: [`Program`] kills only the program itself, and an nginx worker
    /// outlives a killed master.
    fn drop(&mut self) {
        let family = self.program.id().map(accounts::family);
        if let Some(Ok(family)) = family {
            let ids = family.iter().map(u32::to_string);
            // Nothing more can be done when even this fails.
            let _ = std::process::Command::new("kill").args(ids).status();
        }
    }
}

/// A loopback address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// Start a program on these processors and wait until it accepts connections at `address`.
/// Its standard error goes to `{name}.log` in `folder`, so that reading it costs us nothing.
pub(crate) async fn start(
    name: &str,
    folder: &Path,
    processors: Option<&str>,
    binary: &Path,
    arguments: &[String],
    address: SocketAddr,
) -> Result<Listening> {
    // Should we be killed, it is ended too.
    let mut words: Vec<String> = ["setpriv", "--pdeathsig", "TERM"].map(String::from).into();
    if let Some(processors) = processors {
        words.extend(["taskset".into(), "--cpu-list".into(), processors.into()]);
    }
    words.push(binary.display().to_string());
    words.extend_from_slice(arguments);
    let mut shell = vec![
        "-c".to_owned(),
        "log=$1; shift; exec \"$@\" >>\"$log\" 2>&1".to_owned(),
        "sh".to_owned(),
        folder.join(format!("{name}.log")).display().to_string(),
    ];
    shell.extend(words);
    let program = Program::start(Path::new("/bin/sh"), folder, &shell, &[])?;
    let mut listening = Listening { program, address };
    let deadline = Instant::now() + Duration::from_secs(120);
    while tokio::net::TcpStream::connect(address).await.is_err() {
        let ended = listening.program.ended();
        if ended.is_some() || Instant::now() > deadline {
            let what = ended.map_or("does not listen".to_owned(), |code| {
                format!("ended with {code}, and was to listen")
            });
            let log = std::fs::read_to_string(folder.join(format!("{name}.log")));
            bail!("{name} {what} on {address}:\n{}", log.unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(listening)
}

/// The backend of `backend.rs`, as a program of its own.
pub(crate) async fn light_backend(folder: &Path, processors: Option<&str>) -> Result<Listening> {
    let address = free_address();
    let arguments = [
        "serve-backend".to_owned(),
        "--port".to_owned(),
        address.port().to_string(),
    ];
    let me = std::env::current_exe()?;
    start("backend", folder, processors, &me, &arguments, address).await
}

/// `mcp-backend` over the sample documents.
pub(crate) async fn mcp_backend(folder: &Path, processors: Option<&str>) -> Result<Listening> {
    let address = free_address();
    let documents = workspace().join("conf/documents").display().to_string();
    let arguments = [
        "--documents".to_owned(),
        documents,
        "--listen".to_owned(),
        address.to_string(),
    ];
    start(
        "mcp-backend",
        folder,
        processors,
        &binary("mcp-backend"),
        &arguments,
        address,
    )
    .await
}

/// A program and its arguments, started by the words of another.
pub(crate) fn under(
    words: &[String],
    program: &Path,
    arguments: &[String],
) -> (PathBuf, Vec<String>) {
    let Some((first, rest)) = words.split_first() else {
        return (program.to_owned(), arguments.to_vec());
    };
    let own = [program.display().to_string()];
    let arguments = rest.iter().chain(&own).chain(arguments).cloned().collect();
    (first.into(), arguments)
}

/// nginx that passes everything on and checks nothing.
pub(crate) async fn nginx(
    folder: &Path,
    processors: Option<&str>,
    threads: usize,
    backend: SocketAddr,
) -> Result<Listening> {
    let address = free_address();
    let arguments = configure_nginx(folder, threads, backend, address)?;
    let program = find("nginx")?;
    start("nginx", folder, processors, &program, &arguments, address).await
}

/// The same in one process, under another program.
pub(crate) async fn nginx_alone(
    folder: &Path,
    words: &[String],
    backend: SocketAddr,
) -> Result<Listening> {
    let address = free_address();
    let mut arguments = configure_nginx(folder, 1, backend, address)?;
    arguments.extend(["-g", "master_process off;"].map(String::from));
    let (program, arguments) = under(words, &find("nginx")?, &arguments);
    start("nginx", folder, None, &program, &arguments, address).await
}

/// Writes its configuration; the arguments that name it.
fn configure_nginx(
    folder: &Path,
    threads: usize,
    backend: SocketAddr,
    address: SocketAddr,
) -> Result<Vec<String>> {
    let file = folder.join("nginx.conf");
    let here = folder.display();
    let configuration = format!(
        "daemon off;
worker_processes {threads};
worker_rlimit_nofile 8192;
pid {here}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log {here}/nginx-access.log;
  client_body_temp_path {here}/nginx-body;
  proxy_temp_path {here}/nginx-proxy;
  fastcgi_temp_path {here}/nginx-fastcgi;
  scgi_temp_path {here}/nginx-scgi;
  uwsgi_temp_path {here}/nginx-uwsgi;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  upstream backend {{
    server {backend};
    keepalive 64;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_read_timeout 1h;
    }}
  }}
}}
"
    );
    std::fs::write(&file, configuration)?;
    Ok(["-p", &here.to_string(), "-c", &file.display().to_string()]
        .map(String::from)
        .into())
}

/// HAProxy that verifies the signature, expiry and audience of an ES256 JWT at every
/// request and tells the backend who the user is, as the gateway does.
pub(crate) async fn haproxy(
    folder: &Path,
    processors: Option<&str>,
    threads: usize,
    backend: SocketAddr,
    public_key: &str,
) -> Result<Listening> {
    let address = free_address();
    let (file, key) = (folder.join("haproxy.cfg"), folder.join("jwt.pem"));
    std::fs::write(&key, public_key)?;
    let (key, audience) = (key.display(), jwt::AUDIENCE);
    let configuration = format!(
        "global
  nbthread {threads}
  maxconn 3500
  log stdout format raw daemon
defaults
  mode http
  log global
  option httplog
  option dontlognull
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always
frontend bearer
  bind {address}
  http-request set-var(txn.bearer) http_auth_bearer
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_header_query('$.alg') -m str ES256 }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(\"ES256\",\"{key}\") 1 }}
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_payload_query('$.exp','int'),sub(txn.now) gt 0 }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_payload_query('$.aud') -m str {audience} }}
  http-request set-header X-Forwarded-User %[var(txn.bearer),jwt_payload_query('$.sub')]
  http-request del-header Authorization
  default_backend mcp
backend mcp
  server one {backend}
"
    );
    std::fs::write(&file, configuration)?;
    let arguments = ["-db", "-f", &file.display().to_string()].map(String::from);
    start(
        "haproxy",
        folder,
        processors,
        &find("haproxy")?,
        &arguments,
        address,
    )
    .await
}

/// What a program says its version is: the first word with a digit in it.
pub(crate) async fn version(binary: &Path, argument: &str) -> Result<String> {
    let (_, stdout, stderr) = program::run(binary, &[argument], "").await?;
    let said = stdout + &stderr;
    let digits = |word: &&str| word.contains(|c: char| c.is_ascii_digit());
    let word = said.split_whitespace().find(digits).unwrap_or("unknown");
    Ok(word.trim_start_matches("nginx/").to_owned())
}

/// A program of the system; Debian keeps servers where ordinary users do not look.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.exists())
        .with_context(|| format!("{name} is not installed; tests/bench/run installs it"))
}
