//! What stands above all tables: where the gateway is reached, and what it calls itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::config::reader::Reader;
use crate::config::settings::settings;
use crate::config::values;
use gateway_core::protocol::resource::Issuer;
use gateway_core::protocol::web_origin::AllowedOrigins;
use gateway_oauth::provider::Provider;

settings! {
    /// The keys outside of any table.
    #[derive(Debug)]
    pub struct General in "" {
        /// The origin that clients and browsers use. The only source of every URL that is published.
        /// Default: `http://localhost:` and the port of `listen`.
        pub(super) public_url: Option<Issuer>, issuer;
        /// Where clients and browsers are served.
        pub listen: Vec<SocketAddr> = "127.0.0.1:8080", public_address;
        /// Whether HTTP/2 without TLS is spoken at `listen` with a proxy that begins with it (prior
        /// knowledge, `h2c`), beside HTTP/1.1.
        pub h2c: bool = "false", values::flag;
        /// Where health, metrics and the operator's commands are served. Never make it public.
        pub admin_listen: SocketAddr = "127.0.0.1:9090", admin_address;
        /// Whether everybody may log in with a password. `false`: only the owner of the configuration,
        /// to the rescue, at `/login?password`; all others with a `[[login]]`.
        pub password_login: bool = "true", values::flag;
        /// The name on pages and in the manifest.
        pub title: String = "Cupcake Gateway", values::text;
        /// Worker threads. Default: one per core.
        pub(super) threads: Option<usize>, values::count::<usize>;
        /// The folder of the signing keys. Default: `keys` in the state folder, `./state/keys` with a
        /// store that has none.
        pub(super) keys_dir: Option<PathBuf>, values::path;
        /// Addresses or networks whose X-Forwarded-For is believed, for limits and logs.
        pub trusted_proxies: Vec<IpNet>, values::network;
        /// Web origins besides our own whose pages may call the MCP endpoints with a token; what needs
        /// none is readable from everywhere. Whole origins (`https://example.com`), all below a domain
        /// (`https://*.example.com`), any port (`http://localhost:*`), `*` for all, `none`.
        /// `well-known`, alone or beside others, stands for `https://claude.ai`, `https://claude.com`,
        /// `https://chatgpt.com`, `https://chat.openai.com`, `https://platform.openai.com`,
        /// `https://gemini.google.com`, `https://aistudio.google.com`, `https://copilot.microsoft.com`,
        /// `https://m365.cloud.microsoft`, `https://chat.mistral.ai`, `https://www.perplexity.ai`,
        /// `https://grok.com`, `https://vscode.dev`, `https://insiders.vscode.dev`,
        /// `https://*.vscode-cdn.net`, `https://github.dev`, `https://*.github.dev`,
        /// `vscode-file://vscode-app`, and programs on the person's own computer, such as MCP
        /// Inspector: `http://localhost:*`, `http://127.0.0.1:*`, `http://[::1]:*`.
        pub(super) allowed_origins: Vec<String> = "well-known", values::text;
    }
}

fn issuer(text: &str) -> Result<Issuer, String> {
    Issuer::parse(text).map_err(|error| error.to_string())
}

pub(super) fn public_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "is no address with a port, such as 127.0.0.1:8080".to_owned())
}

fn admin_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "is no address with a port, such as 127.0.0.1:9090".to_owned())
}

impl General {
    /// Two listeners, and neither may get what is meant for the other.
    pub(super) fn check(&self, reader: &mut Reader<'_>) {
        if self.listen.is_empty() {
            reader.conflict("listen", "names no address");
        }
        let admin = self.admin_listen;
        if self.listen.iter().any(|address| overlap(*address, admin)) {
            reader.conflict(
                "admin_listen",
                "is the address of `listen`, too: give it another port, and never make it public",
            );
        }
    }

    /// Addresses of another listener may be neither of the two.
    pub(super) fn check_apart(&self, key: &str, addresses: &[SocketAddr], reader: &mut Reader<'_>) {
        for address in addresses {
            if self.listen.iter().any(|other| overlap(*address, *other)) {
                reader.conflict(key, "is an address of `listen`, too: give it another port");
            }
            if overlap(*address, self.admin_listen) {
                let sentence = "is the address of `admin_listen`, too: give it another port";
                reader.conflict(key, sentence);
            }
        }
    }

    /// Somebody must be able to log in.
    pub(super) fn check_logins(&self, providers: &[Provider], reader: &mut Reader<'_>) {
        if !self.password_login && providers.is_empty() && !reader.is_written("login") {
            let sentence = "leaves nobody a way in: there is no [[login]]";
            reader.conflict("password_login", sentence);
        }
    }

    /// The origin that is published; `None` with a problem noted.
    pub(super) fn issuer(&self, reader: &mut Reader<'_>) -> Option<Issuer> {
        if self.public_url.is_some() || reader.is_wrong("public_url") {
            return self.public_url.clone();
        }
        let port = self.listen.first()?.port();
        reader.noted("public_url", issuer(&format!("http://localhost:{port}")))
    }

    /// How many worker threads there are.
    pub(super) fn worker_threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(2, usize::from);
        self.threads.unwrap_or_else(cores).max(1)
    }

    pub(super) fn origins(&self, reader: &mut Reader<'_>) -> AllowedOrigins {
        let read = AllowedOrigins::parse(self.allowed_origins.iter().map(String::as_str));
        read.unwrap_or_else(|problems| {
            for (text, sentence) in problems {
                reader.wrong("allowed_origins", format!("{sentence}; it is `{text}`"));
            }
            AllowedOrigins::default()
        })
    }
}

/// Whether one listener could get what is meant for the other: the system lets both listen.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (everywhere || one.ip() == other.ip())
}
