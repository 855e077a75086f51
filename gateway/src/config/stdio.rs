//! Backends that speak on stdin and stdout: the bridge to start in front of one, and the socket that
//! it is reached on.

use std::path::{Path, PathBuf};

use crate::config::layers::Raw;
use crate::config::reader::Reader;
use gateway_store::StoreUrl;
use gateway_upstream::Address;

/// The path of a unix socket has room for about a hundred bytes (`sun_path`).
const LONGEST_PATH: usize = 100;

/// A bridge, as it is to be started.
pub(super) struct Bridge {
    pub(super) address: Address,
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

impl Reader<'_> {
    /// Where what belongs to a running gateway is kept.
    pub(super) fn state_folder(store: Option<&StoreUrl>) -> PathBuf {
        match store {
            Some(StoreUrl::Folder(folder)) => folder.clone(),
            _ => PathBuf::from("./state"),
        }
    }

    /// The bridge of the backend at `index`, if it has `stdio`. `None` otherwise, or with a problem
    /// noted.
    pub(super) fn bridge(&mut self, index: usize, name: &str, state: &Path) -> Option<Bridge> {
        let at = |key: &str| format!("backend.{index}.{key}");
        let server = self.words(&at("stdio"));
        if server.is_empty() {
            for key in ["environment", "process", "working_directory"] {
                if self.layers.value(&at(key)).is_some() {
                    self.wrong(&at(key), "is for stdio, which is missing");
                }
            }
            return None;
        }
        for key in ["url", "command"] {
            if self.layers.value(&at(key)).is_some() {
                self.wrong(
                    &at("stdio"),
                    &format!("stands beside a {key}; give one of them"),
                );
                return None;
            }
        }
        let socket = state.join(format!("{name}.sock"));
        if socket.as_os_str().len() > LONGEST_PATH {
            let sentence = format!(
                "is reached on {}, which is too long for a socket: shorten store.url or name",
                socket.display()
            );
            self.wrong(&at("stdio"), &sentence);
            return None;
        }
        let process = self.parsed(&at("process"), |text| match text {
            "session" | "shared" => Ok(text.to_owned()),
            _ => Err("must be `session` or `shared`".to_owned()),
        })?;
        let mut command: Vec<String> = ["mcp-backend", "bridge", "--listen"]
            .map(str::to_owned)
            .to_vec();
        command.push(format!("unix:{}", socket.display()));
        command.extend(["--name".to_owned(), name.to_owned()]);
        command.extend(["--process".to_owned(), process]);
        let mut environment = Vec::new();
        for (name, value) in self.environment(&at("environment"))? {
            // By name only: arguments can be read by everybody on the machine.
            command.extend(["--env".to_owned(), name.clone()]);
            environment.extend(value.map(|value| (name, value)));
        }
        if let Some(folder) = self.file(&at("working_directory")) {
            command.extend(["--working-directory".to_owned(), folder]);
        }
        for (option, key) in [
            ("--user-header", "identity.user_header"),
            ("--client-header", "identity.client_header"),
            ("--grant-header", "identity.grant_header"),
        ] {
            if let Some(header) = self.text(key) {
                command.extend([option.to_owned(), header]);
            }
        }
        if let Some(patience) = self.duration(&at("start_timeout")) {
            let seconds = patience.as_secs_f64().to_string();
            command.extend(["--start-timeout".to_owned(), seconds]);
        }
        command.extend(["--warm-up", "--until-stdin-closes", "--"].map(str::to_owned));
        command.extend(server);
        Some(Bridge {
            address: Address::Unix(socket),
            command,
            environment,
        })
    }

    fn environment(&mut self, path: &str) -> Option<Vec<(String, Option<String>)>> {
        let items = match self.layers.value(path) {
            Some((Raw::List(items), _)) => items.clone(),
            Some((Raw::Scalar(item), _)) => vec![item.clone()],
            Some((Raw::Map(_), _)) => {
                self.wrong(path, "takes a list");
                return None;
            }
            None => Vec::new(),
        };
        let mut variables = Vec::new();
        for item in items {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (item.as_str(), None),
            };
            if name.is_empty() || name.contains(char::is_whitespace) || item.contains('\0') {
                // Not repeated here: it may be a secret.
                self.wrong(path, "is written as NAME or NAME=VALUE");
                return None;
            }
            variables.push((name.to_owned(), value));
        }
        Some(variables)
    }
}
