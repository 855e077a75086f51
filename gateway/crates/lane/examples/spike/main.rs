//! What an own loop over `httparse` costs beside hyper's connection types and nginx, each as a
//! reverse proxy that looks a token up and rewrites heads. `spike` prints a table,
//! `spike streams` one of the memory of idle streams;
//! `spike serve KIND ADDRESS BACKEND` is one of the proxies.

mod backend;
mod bench;
mod hyper_proxy;
mod lane_proxy;
mod own_proxy;
mod tokens;

use std::net::SocketAddr;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => bench::run(),
        ["streams"] => bench::streams(),
        ["load", address, calls] => bench::only_load(address.parse()?, calls.parse()?),
        ["serve", kind, address] => serve(kind, address.parse()?, None),
        ["serve", kind, address, backend] => serve(kind, address.parse()?, Some(backend.parse()?)),
        _ => {
            Err("usage: spike [streams | load ADDRESS CALLS | serve KIND ADDRESS [BACKEND]]".into())
        }
    }
}

/// One worker of tokio's threaded runtime, as the gateway runs by default.
fn serve(kind: &str, address: SocketAddr, backend: Option<SocketAddr>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let kind = kind.to_owned();
    let accepting = async move {
        let lane = backend.map(lane_proxy::lane);
        let listener = tokio::net::TcpListener::bind(address).await?;
        loop {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            if let ("lane", Some(lane)) = (kind.as_str(), &lane) {
                lane_proxy::serve(stream, peer, std::sync::Arc::clone(lane));
                continue;
            }
            match (kind.as_str(), backend) {
                ("backend", _) => drop(tokio::spawn(backend::answer(stream))),
                ("own", Some(backend)) => drop(tokio::spawn(own_proxy::serve(stream, backend))),
                ("hyper", Some(backend)) => drop(tokio::spawn(hyper_proxy::serve(stream, backend))),
                ("hyper-task", Some(backend)) => {
                    drop(tokio::spawn(hyper_proxy::serve_two_tasks(stream, backend)));
                }
                _ => return Err(format!("no such proxy: {kind}").into()),
            }
        }
    };
    runtime.block_on(async { tokio::spawn(accepting).await? })
}
