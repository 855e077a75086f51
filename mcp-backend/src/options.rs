//! The command line and its environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::address::AddressTemplate;
use crate::bridge::options::BridgeOptions;

/// An MCP server over a folder of documents: the tools search and fetch.
///
/// Reads Markdown, text, HTML and JSON records, follows changes while it runs, and answers over
/// Streamable HTTP at /mcp, over the older HTTP+SSE at /sse, or on stdin and stdout with --stdio.
#[derive(Debug, Parser)]
#[command(name = "mcp-backend", version, args_conflicts_with_subcommands = true)]
pub struct Options {
    /// A command instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to serve.
    #[command(flatten)]
    pub serve: ServeOptions,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask a running server whether it is well; the exit code tells. For container health checks.
    Healthcheck {
        /// The address it listens on.
        #[arg(long, value_name = "ADDR", env = "MCP_BACKEND_LISTEN", default_value = DEFAULT_LISTEN)]
        listen: SocketAddr,
    },
    /// Put a server that speaks on stdin and stdout behind HTTP, for clients of every revision.
    Bridge(Box<BridgeOptions>),
    /// Run a command for the bridge: see `bridge::keeper`.
    #[command(hide = true)]
    Keep {
        /// The process that asks for it.
        #[arg(long)]
        parent: u32,
        /// Program and arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// How to serve.
#[derive(Debug, clap::Args)]
pub struct ServeOptions {
    /// The folder of documents.
    #[arg(
        long,
        value_name = "DIR",
        env = "MCP_BACKEND_DOCUMENTS",
        default_value = "documents"
    )]
    pub documents: PathBuf,

    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "MCP_BACKEND_LISTEN", default_value = DEFAULT_LISTEN)]
    pub listen: SocketAddr,

    /// Where people open documents: a base URL, or a template with {id}, {path} and {section}
    /// [default: what the gateway in front says in X-Forwarded-Pages, else this server's own viewer]
    #[arg(long, value_name = "URL", env = "MCP_BACKEND_BASE_URL")]
    pub base_url: Option<AddressTemplate>,

    /// Speak MCP on stdin and stdout instead of listening.
    #[arg(long, env = "MCP_BACKEND_STDIO")]
    pub stdio: bool,

    /// End when stdin is closed, and so when the parent process ends in whatever way.
    #[arg(long, env = "MCP_BACKEND_UNTIL_STDIN_CLOSES", conflicts_with = "stdio")]
    pub until_stdin_closes: bool,

    /// A Host to answer besides the loopback names, as NAME or NAME:PORT; may be repeated.
    #[arg(
        long,
        value_name = "HOST",
        env = "MCP_BACKEND_ALLOWED_HOST",
        value_delimiter = ','
    )]
    pub allowed_host: Vec<String>,

    /// Form of the log on stderr.
    #[arg(
        long,
        value_name = "FORMAT",
        env = "MCP_BACKEND_LOG_FORMAT",
        default_value = "json"
    )]
    pub log_format: LogFormat,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

const DEFAULT_LISTEN: &str = "127.0.0.1:9000";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_base_url_is_checked_when_it_is_read() {
        assert!(
            Options::try_parse_from(["mcp-backend", "--base-url", "ftp://example.com"]).is_err()
        );
        let options =
            Options::try_parse_from(["mcp-backend", "--base-url", "https://example.com/{path}"])
                .unwrap();
        assert!(options.serve.base_url.is_some());
    }
}
