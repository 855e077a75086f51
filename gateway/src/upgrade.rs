//! A new process takes over from the one that serves, and nobody notices: listeners, store, audit log and
//! the programs beside us go from one to the other over a Unix socket in the state folder.
//!
//! Owns: what the two say to each other, and in which order. Not: what becomes of connections
//! (`gateway_proxy::Drain`), nor how a store moves (`gateway_store::Movable`).
//!
//! | the new process | the old one |
//! |---|---|
//! | has checked its configuration, keys and certificate; `hello` | `offer`, with a copy of each listening socket; goes on serving |
//! | can listen at all addresses of its own; `take` | closes the audit log and an embedded store; whoever needs them waits; `given` |
//! | opens both, starts everything else; `serving` | takes no more connections, ends those it has with their next answer; asks the new process for what it needs of the store; `left` |
//! | is the gateway; listens for the next one | ends with its last stream, at the latest after `timeouts.upgrade` |
//!
//! Whatever fails before `serving` ends the new process. The old one makes sure of that, and opens again what it
//! closed: its listeners were open all the time.
//!
//! The socket lies in a folder that its owner alone may enter, and whoever connects must be that user. Root may
//! ask, and not take over: the gateway would be root's from then on.
//! `PROTOCOL` is raised when an earlier version could not go on with what a later one says.

mod container;
mod new;
mod old;
mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use gateway_store::StoreUrl;
use gateway_store::neighbour::Question;

pub use self::new::{Predecessor, serves};
pub use self::old::{Listening, Succession};

/// Which version of this is spoken.
const PROTOCOL: u32 = 1;

/// The program and its version, as it is told to people.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The name of the socket.
const SOCKET: &str = "upgrade.sock";

/// Where the gateway of a state folder is asked.
pub fn socket_in(state: &Path) -> PathBuf {
    state.join(SOCKET)
}

/// The first line on a connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Opening {
    /// A process that left asks the one that serves.
    Ask(Question),
    /// A process wants to take over.
    Hello(Hello),
    /// Somebody wants to know which process serves.
    Who(Who),
}

#[derive(Debug, Serialize, Deserialize)]
struct Who {
    who: (),
}

#[derive(Debug, Serialize, Deserialize)]
struct Me {
    process: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    /// [`PROTOCOL`]
    upgrade: u32,
    version: String,
    store: String,
}

/// What a new process says afterwards.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ToOld {
    Take,
    Serving {
        process: u32,
        /// The programs that it goes on with, by backend.
        adopted: Vec<String>,
    },
}

/// What an old process answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ToNew {
    /// With a file for each address and four for each program.
    Offer(Offer),
    Given,
    Left,
    /// In a sentence.
    Refused(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    version: String,
    process: u32,
    addresses: Vec<SocketAddr>,
    programs: Vec<OfferedProgram>,
    /// Where the service manager is told.
    notify: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OfferedProgram {
    backend: String,
    /// What was started, with its environment.
    digest: String,
    /// Its process.
    process: u32,
}

/// What two processes must have in common to hand over. In a form in which no password stands.
fn identity(store: &StoreUrl) -> String {
    match store {
        StoreUrl::Folder(folder) => {
            let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
            format!("file:{}", folder.display())
        }
        other => other.to_string(),
    }
}
