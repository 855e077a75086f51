//! The load and the table: kept connections, interleaved rounds, CPU as the kernel counts it.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;
use crate::tokens::TOKEN;

const ROUNDS: usize = 7;
const CALLS: usize = 20_000;
const CONNECTIONS: usize = 16;

struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Subject {
    name: &'static str,
    address: SocketAddr,
    pid: u32,
    _process: Option<Started>,
    runs: Vec<Round>,
}

struct Round {
    cpu: f64,
    rate: f64,
    p50: f64,
    p99: f64,
    backend_cpu: f64,
}

pub(crate) fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let backend = subject("backend", None)?;
    let mut subjects = Vec::new();
    for name in ["nginx", "lane", "own", "hyper", "hyper-task"] {
        subjects.push(match name {
            "nginx" => nginx(backend.address)?,
            name => subject(name, Some(backend.address))?,
        });
    }
    std::thread::sleep(Duration::from_millis(500));
    for subject in &mut subjects {
        subject.pid = worker(subject.pid);
        runtime.block_on(load(subject.address, 2000))?;
    }
    for _ in 0..ROUNDS {
        for subject in &mut subjects {
            let (before, backend_before) = (cpu(subject.pid)?, cpu(backend.pid)?);
            let started = Instant::now();
            let mut latencies = runtime.block_on(load(subject.address, CALLS))?;
            let rate = CALLS as f64 / started.elapsed().as_secs_f64();
            latencies.sort_by(f64::total_cmp);
            let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
            subject.runs.push(Round {
                cpu: (cpu(subject.pid)? - before) / CALLS as f64,
                backend_cpu: (cpu(backend.pid)? - backend_before) / CALLS as f64,
                rate,
                p50: at(0.5),
                p99: at(0.99),
            });
        }
    }
    table(&subjects);
    Ok(())
}

/// How much a proxy takes for streams that are open and silent, in three generations.
pub(crate) fn streams() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let backend = subject("backend", None)?;
    let mut subjects = vec![
        nginx(backend.address)?,
        subject("lane", Some(backend.address))?,
    ];
    std::thread::sleep(Duration::from_millis(500));
    println!(
        "{:8} {:>10} {:>14} {:>14} {:>14} {:>16}",
        "", "generation", "open, KiB each", "closed, MiB", "CPU to open us", "idle 10 s CPU ms"
    );
    for subject in &mut subjects {
        subject.pid = worker(subject.pid);
        runtime.block_on(load(subject.address, 2000))?;
        let before = memory(subject.pid)?;
        println!("{:8} before {before} KiB", subject.name);
        for generation in 1..=3 {
            let cpu_before = cpu(subject.pid)?;
            let open = runtime.block_on(open_streams(subject.address))?;
            std::thread::sleep(Duration::from_millis(1500));
            let to_open = (cpu(subject.pid)? - cpu_before) / STREAMS as f64;
            let held = (memory(subject.pid)? as f64 - before as f64) / STREAMS as f64;
            let cpu_before = cpu(subject.pid)?;
            std::thread::sleep(Duration::from_secs(10));
            let idle = (cpu(subject.pid)? - cpu_before) / 1000.0;
            drop(open);
            std::thread::sleep(Duration::from_millis(1500));
            runtime.block_on(load(subject.address, 16))?;
            let after = memory(subject.pid)? as f64 / 1024.0;
            println!(
                "{:8} {generation:>10} {held:>14.2} {after:>14.1} {to_open:>14.1} {idle:>16.2}",
                subject.name
            );
        }
    }
    // In processes that have not held streams before: what those left is used again.
    for mut subject in [
        nginx(backend.address)?,
        subject("lane", Some(backend.address))?,
    ] {
        std::thread::sleep(Duration::from_millis(500));
        subject.pid = worker(subject.pid);
        runtime.block_on(load(subject.address, 2000))?;
        let before = memory(subject.pid)?;
        let open = runtime.block_on(open_idle(subject.address))?;
        std::thread::sleep(Duration::from_secs(7));
        let held = (memory(subject.pid)? as f64 - before as f64) / STREAMS as f64;
        println!(
            "{:8} {held:.2} KiB for a connection kept idle after a call",
            subject.name
        );
        drop(open);
    }
    Ok(())
}

/// Connections that have carried a call each.
async fn open_idle(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut open = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&call()).await?;
        let mut answer = Vec::with_capacity(1024);
        while !is_whole(&answer)? {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err("closed".into());
            }
        }
        open.push(stream);
    }
    Ok(open)
}

/// The load alone, for a proxy that runs under a profiler.
pub(crate) fn only_load(address: SocketAddr, calls: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let latencies = runtime.block_on(load(address, calls))?;
    println!("{} calls", latencies.len());
    Ok(())
}

const STREAMS: usize = 2000;

async fn open_streams(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut open = Vec::with_capacity(STREAMS);
    let token = TOKEN.as_str();
    for _ in 0..STREAMS {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nAccept: text/event-stream\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::with_capacity(1024);
        while !head.ends_with(b"data: 1\n\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Err("closed".into());
            }
        }
        open.push(stream);
    }
    Ok(open)
}

/// Memory of a process that is its own, in KiB.
fn memory(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let rss = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    Ok(rss
        .ok_or("no Rss")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?)
}

fn table(subjects: &[Subject]) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{ROUNDS} rounds of {CALLS} calls, {CONNECTIONS} connections, load of the machine {}",
        load.trim()
    );
    println!(
        "{:12} {:>22} {:>7} {:>10} {:>8} {:>8} {:>9}",
        "", "CPU a call (range), us", "x nginx", "calls/s", "p50 us", "p99 us", "backend"
    );
    let reference = median(&subjects[0].runs, |run| run.cpu);
    for subject in subjects {
        let of = |what: fn(&Round) -> f64| median(&subject.runs, what);
        let (low, high) = subject
            .runs
            .iter()
            .fold((f64::MAX, 0.0f64), |(low, high), run| {
                (low.min(run.cpu), high.max(run.cpu))
            });
        println!(
            "{:12} {:>7.2} ({low:5.2} to {high:5.2}) {:>7.2} {:>10.0} {:>8.0} {:>8.0} {:>9.2}",
            subject.name,
            of(|run| run.cpu),
            of(|run| run.cpu) / reference,
            of(|run| run.rate),
            of(|run| run.p50),
            of(|run| run.p99),
            of(|run| run.backend_cpu)
        );
    }
}

fn median(runs: &[Round], what: fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(what).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Microseconds that a process has had a processor for, all its threads together.
fn cpu(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().unwrap_or("0").parse::<f64>()?;
    }
    Ok(nanoseconds / 1000.0)
}

/// nginx's only worker, if this is its master.
fn worker(pid: u32) -> u32 {
    let children =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children
        .split_whitespace()
        .next()
        .and_then(|child| child.parse().ok())
        .unwrap_or(pid)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn subject(name: &'static str, backend: Option<SocketAddr>) -> Result<Subject> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", name, &address.to_string()]);
    command.args(backend.map(|backend| backend.to_string()));
    let process = command.spawn()?;
    Ok(Subject {
        name,
        address,
        pid: process.id(),
        _process: Some(Started(process)),
        runs: Vec::new(),
    })
}

fn nginx(backend: SocketAddr) -> Result<Subject> {
    let address = free_address()?;
    let folder = std::env::temp_dir().join(format!(
        "spike-nginx-{}-{}",
        std::process::id(),
        address.port()
    ));
    std::fs::create_dir_all(&folder)?;
    let here = folder.display();
    let configuration = format!(
        "daemon off; worker_processes 1; pid {here}/pid; error_log stderr warn; events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {here}/a; proxy_temp_path {here}/b; fastcgi_temp_path {here}/c; scgi_temp_path {here}/d; uwsgi_temp_path {here}/e;
keepalive_timeout 1h; keepalive_requests 1000000000; tcp_nodelay on;
upstream backend {{ server {backend}; keepalive 64; keepalive_timeout 1h; keepalive_requests 1000000000; }}
server {{ listen {address}; location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_read_timeout 1h; }} }} }}"
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, configuration)?;
    let process = Command::new("nginx")
        .args(["-p", &here.to_string(), "-c", &file.display().to_string()])
        .spawn()?;
    Ok(Subject {
        name: "nginx",
        address,
        pid: process.id(),
        _process: Some(Started(process)),
        runs: Vec::new(),
    })
}

fn call() -> Vec<u8> {
    let body = r#"{"jsonrpc":"2.0","id":1000000000,"method":"tools/call","params":{"name":"search","arguments":{"query":"access token"}}}"#;
    let token = TOKEN.as_str();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: mcp.example.com\r\nUser-Agent: benchmark/1\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nMCP-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: 0123456789abcdef\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn load(address: SocketAddr, calls: usize) -> Result<Vec<f64>> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (call, mut buffer) = (call(), Vec::with_capacity(4096));
            let mut latencies = Vec::with_capacity(calls / CONNECTIONS);
            for _ in 0..calls / CONNECTIONS {
                let started = Instant::now();
                stream.write_all(&call).await?;
                buffer.clear();
                while !is_whole(&buffer)? {
                    if stream.read_buf(&mut buffer).await? == 0 {
                        return Err("closed".into());
                    }
                }
                latencies.push(started.elapsed().as_nanos() as u64);
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(latencies)
        });
    }
    let mut all = Vec::with_capacity(calls);
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    all.sort_unstable();
    Ok(all
        .into_iter()
        .map(|nanoseconds| nanoseconds as f64 / 1000.0)
        .collect())
}

fn is_whole(buffer: &[u8]) -> Result<bool> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(buffer)? else {
        return Ok(false);
    };
    if response.code != Some(200) {
        return Err("refused".into());
    }
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length: usize = std::str::from_utf8(length.ok_or("no length")?.value)?.parse()?;
    Ok(buffer.len() >= head + length)
}
