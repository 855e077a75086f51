//! Where the configuration of a command comes from.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::failed::Failed;
use crate::config::layers::Layers;
use crate::config::{self, Config, SCHEMA};

/// Where the configuration comes from. A flag wins over the environment, that over the file.
#[derive(Clone, Debug, Default, Args)]
pub(in crate::cli) struct Configuration {
    /// The configuration file
    #[arg(long, short, env = "GATEWAY_CONFIG", value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,
    /// The origin that clients and browsers use, such as https://mcp.example.com
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) public_url: Option<String>,
    /// Serve https under this name, which must lead to this machine, with a certificate of Let's Encrypt's
    /// (`tls.acme`), on the ports 443 and 80
    #[arg(long, value_name = "NAME", conflicts_with = "public_url")]
    pub(in crate::cli) domain: Option<String>,
    /// Where clients and browsers are served
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) listen: Option<String>,
    /// Where health, metrics and the operator's commands are served
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) admin_listen: Option<String>,
    /// file:DIR, redis://…, rediss://… or memory:
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) store: Option<String>,
    /// The backend, where there is one and no file names it
    #[arg(long, value_name = "URL", conflicts_with = "stdio")]
    pub(in crate::cli) backend: Option<String>,
    /// json or pretty
    #[arg(long, value_name = "FORMAT")]
    pub(in crate::cli) log_format: Option<String>,
    /// A server that speaks on stdin and stdout, to stand in front of: a program and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(in crate::cli) stdio: Vec<String>,
    /// The URL of a tunnel that is open
    #[arg(skip)]
    pub(in crate::cli) tunnel_url: Option<String>,
}

/// Where `--domain` listens, if nothing else is said.
const HTTPS: &str = "0.0.0.0:443";

/// What belongs to the server that a file names, and goes with it where a command takes its place: its
/// address, how it is started, and where its pages are. Everybody's own account stays, and is refused:
/// nobody's credentials are dropped unsaid.
const INSTEAD_OF: [&str; 3] = ["backend.0.url", "backend.0.command", "backend.0.pages"];

/// The layers of a configuration with another policy in it, if one is given.
pub(in crate::cli) fn policy_of(configuration: &Configuration, policy: Option<&Path>) -> Layers {
    let mut layers = configuration.layers();
    if let Some(path) = policy {
        layers.flag("policy.file", "--policy", &path.display().to_string());
    }
    layers
}

impl Configuration {
    /// One that is all in a file, and in the environment.
    pub(in crate::cli) fn of_file(config: Option<PathBuf>) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// All layers. A file that can't be read is a problem, too.
    pub(in crate::cli) fn layers(&self) -> Layers {
        let mut layers = Layers::new(&SCHEMA);
        if let Some(path) = &self.config {
            match config::read_text(path) {
                Ok(text) => layers.file(path, &text),
                Err(sentence) => {
                    layers.unread("--config", format!("{} {sentence}", path.display()));
                }
            }
        }
        layers.environment(std::env::vars_os());
        let flags = [
            ("public_url", "--public-url", &self.public_url),
            ("listen", "--listen", &self.listen),
            ("admin_listen", "--admin-listen", &self.admin_listen),
            ("store.url", "--store", &self.store),
            ("backend.0.url", "--backend", &self.backend),
            ("log.format", "--log-format", &self.log_format),
        ];
        for (path, name, value) in flags {
            if let Some(value) = value {
                layers.flag(path, name, value);
            }
        }
        self.add_names(&mut layers);
        if !self.stdio.is_empty() {
            layers.words("backend.0.stdio", &self.stdio, &INSTEAD_OF);
        }
        layers
    }

    /// What `--domain` and `--tunnel` stand for.
    fn add_names(&self, layers: &mut Layers) {
        if let Some(name) = &self.domain {
            layers.flag("public_url", "--domain", &format!("https://{name}"));
            layers.flag("tls.acme", "--domain", "true");
            if layers.value("listen").is_none() {
                layers.flag("listen", "--domain", HTTPS);
            }
        }
        if let Some(url) = &self.tunnel_url {
            layers.flag("public_url", "--tunnel", url);
            // It comes from this machine, and says for whom.
            if layers.value("trusted_proxies").is_none() {
                layers.flag("trusted_proxies", "--tunnel", "127.0.0.1");
            }
        }
    }

    /// The configuration, or all problems with it.
    pub(in crate::cli) fn resolve(&self) -> Result<Config, Failed> {
        Ok(config::resolve(&self.layers())?)
    }

    /// The same for a command that asks no backend: a gateway whose backend was given on its command
    /// line has none in its configuration.
    pub(in crate::cli) fn resolve_without_backend(&self) -> Result<Config, Failed> {
        let mut layers = self.layers();
        if layers.count("backend") == 0 {
            layers.flag("backend.0.url", "--backend", "http://127.0.0.1:9");
        }
        Ok(config::resolve(&layers)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems of a file of `conf`, with a server on the command line or without.
    fn problems(file: &Path, stdio: &[&str]) -> Vec<String> {
        let configuration = Configuration {
            stdio: stdio.iter().map(|&word| word.to_owned()).collect(),
            ..Configuration::of_file(Some(file.to_owned()))
        };
        let problems = config::resolve(&configuration.layers()).err();
        let problems = problems.unwrap_or_default().into_iter();
        problems.map(|problem| problem.to_string()).collect()
    }

    #[test]
    fn a_command_takes_the_place_of_the_first_backend_of_every_example() {
        let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
        let mut seen = 0;
        for folder in [conf.clone(), conf.join("systemd")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                // Its first backend is asked with everybody's own account, which only one with a url takes.
                let has_accounts = path.ends_with("accounts.toml");
                if has_accounts || path.extension().is_none_or(|ending| ending != "toml") {
                    continue;
                }
                // A policy that is named from the top of the repository is found from there alone.
                let before = problems(&path, &[]);
                let after = problems(&path, &["npx", "-y", "x"]);
                assert_eq!(before, after, "{}", path.display());
                seen += 1;
            }
        }
        assert!(seen > 10, "{seen}");
    }

    #[test]
    fn a_command_does_not_drop_everybodys_own_account_unsaid() {
        let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
        let problems = problems(&conf.join("accounts.toml"), &["npx", "-y", "x"]);
        assert!(
            problems.iter().any(|problem| problem.contains("account")),
            "{problems:?}"
        );
    }
}
