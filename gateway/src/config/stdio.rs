//! Backends that speak on stdin and stdout: the bridge to start in front of one, and the socket that
//! it is reached on.

use std::path::Path;

use crate::config::backends::{BackendKeys, Reached};
use crate::config::reader::Reader;
use crate::supervisor::Program;
use gateway_upstream::Address;

/// The path of a unix socket has room for about a hundred bytes (`sun_path`).
const LONGEST_PATH: usize = 100;

/// Whether `stdio` was forgotten: what is written is for it alone, which is noted.
pub(super) fn is_forgotten(reader: &mut Reader<'_>, table: &str) -> bool {
    let mut is_forgotten = false;
    for key in ["environment", "process", "working_directory"] {
        let path = format!("{table}.{key}");
        if reader.layers.value(&path).is_some() {
            reader.conflict(&path, "is for stdio, which is missing");
            is_forgotten = true;
        }
    }
    is_forgotten
}

/// The bridge of a backend that has `stdio`; `None` with a problem noted.
pub(super) fn bridge(
    reader: &mut Reader<'_>,
    table: &str,
    keys: &BackendKeys,
    name: &str,
    state: &Path,
) -> Option<Reached> {
    let at = |key: &str| format!("{table}.{key}");
    for key in ["url", "command"] {
        if reader.layers.value(&at(key)).is_some() {
            let sentence = format!("stands beside a {key}; give one of them");
            reader.wrong(&at("stdio"), sentence);
            return None;
        }
    }
    let socket = state.join(format!("{name}.sock"));
    if socket.as_os_str().len() > LONGEST_PATH {
        let sentence = format!(
            "is reached on {}, which is too long for a socket: shorten store.url or name",
            socket.display()
        );
        reader.wrong(&at("stdio"), sentence);
        return None;
    }
    let mut options = vec![
        ("--listen", format!("unix:{}", socket.display())),
        ("--name", name.to_owned()),
        ("--process", keys.process.clone()),
    ];
    let mut environment = Vec::new();
    for (name, value) in variables(reader, &at("environment"), keys)? {
        // By name only: arguments can be read by everybody on the machine.
        options.push(("--env", name.clone()));
        environment.extend(value.map(|value| (name, value)));
    }
    let folder = keys.working_directory.clone();
    options.extend(folder.map(|folder| ("--working-directory", folder)));
    for (option, key) in [
        ("--user-header", "identity.user_header"),
        ("--client-header", "identity.client_header"),
        ("--grant-header", "identity.grant_header"),
    ] {
        options.extend(reader.text(key).map(|header| (option, header)));
    }
    let seconds = keys.start_timeout.as_secs_f64().to_string();
    options.push(("--start-timeout", seconds));
    let options = options.into_iter();
    let mut command = ["mcp-backend", "bridge"].map(str::to_owned).to_vec();
    command.extend(options.flat_map(|(option, value)| [option.to_owned(), value]));
    command.extend(["--warm-up", "--until-stdin-closes", "--"].map(str::to_owned));
    command.extend(keys.stdio.0.iter().cloned());
    let program = Program {
        name: name.to_owned(),
        command,
        environment,
    };
    Some(Reached {
        program: Some(program),
        is_on_stdio: true,
        ..Reached::at(Address::Unix(socket), "localhost")
    })
}

fn variables(
    reader: &mut Reader<'_>,
    path: &str,
    keys: &BackendKeys,
) -> Option<Vec<(String, Option<String>)>> {
    let mut variables = Vec::new();
    for item in keys.environment.0.iter().flatten() {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (item.as_str(), None),
        };
        if name.is_empty() || name.contains(char::is_whitespace) || item.contains('\0') {
            // Not repeated here: it may be a secret.
            reader.wrong(path, "is written as NAME or NAME=VALUE");
            return None;
        }
        variables.push((name.to_owned(), value));
    }
    Some(variables)
}
