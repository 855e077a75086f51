//! The endpoints: whatever the gateway itself answers on the public listener, and one table of what
//! holds for each of them as a whole: its path, its methods, who calls it, what it has to do with the
//! audit log, and how large a body it reads. Routes, metadata, CORS, the audit log and the reader of
//! bodies ask the table.
//!
//! Not: what is answered (`dispatch`).

use http::Method;

use gateway_core::protocol::published::PAGES;
use gateway_core::protocol::resource::{Mount, default_mount, mount_at};

/// Something that the gateway itself answers on the public listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// For load balancers.
    Health,
    /// For people: what this is.
    Home,
    /// Files of the pages.
    Asset,
    /// OAuth 2.1 §3.1
    Authorize,
    /// The login form's target.
    Login,
    /// Where an identity provider sends the browser back to.
    ProviderCallback,
    /// Where an identity provider says that somebody logged out there.
    ProviderLogout,
    /// The key by which the gateway shows an identity provider who it is.
    ProviderKeys,
    /// The target of an identity provider's button.
    ProviderLogin,
    /// Ends the browser session.
    Logout,
    /// The consent form's target.
    Consent,
    /// The first owner's set-up.
    Setup,
    /// Where a person sets themselves up by a link of the operator's.
    Rescue,
    /// A person's apps.
    Account,
    /// Takes an app's access back.
    AccountRevoke,
    /// Approves a changed tool.
    AccountApprove,
    /// Takes an account at an identity provider off a person.
    AccountUnlink,
    /// A person's passkeys.
    AccountPasskeys,
    /// Adds one.
    AccountPasskeysAdd,
    /// Removes one.
    AccountPasskeysRemove,
    /// Does without a password from then on.
    AccountPasswordRemove,
    /// A person's own tokens.
    AccountTokens,
    /// Makes one.
    AccountTokensNew,
    /// Takes one back.
    AccountTokensRevoke,
    /// Lets an identity provider's word connect an app again.
    AccountReadmit,
    /// Removes a person's account at a backend.
    AccountDisconnect,
    /// Where a backend's authorization server sends the browser back to.
    ConnectCallback,
    /// What the gateway says of itself as a client of such a server.
    ConnectDocument,
    /// The keys by which such a server knows what the gateway says of who calls.
    ConnectKeys,
    /// Where a person connects an account of their own at a backend.
    Connect,
    /// What the owner sees and does: the operator's pages.
    Admin,
    /// A page that a backend publishes for people.
    BackendPage,
    /// OAuth 2.1 §3.2
    Token,
    /// RFC 8628 §3.1
    DeviceAuthorization,
    /// Where a person types the code of an app on another machine.
    Device,
    /// RFC 7591
    Register,
    /// RFC 7009
    Revoke,
    /// RFC 7662
    Introspect,
    /// RFC 8414 §3
    AuthorizationServerMetadata,
    /// RFC 9728 §3; the path of one of a backend's endpoints follows.
    ProtectedResourceMetadata,
    /// A convention of 2025.
    Manifest,
    /// What directories look for today; about the default backend.
    WellKnownServerCard,
    /// The public keys that verify tokens, as the Biscuit project publishes such.
    WebKeys,
    /// ChatGPT's app directory.
    AppsChallenge,
    /// RFC 9116
    SecurityTxt,
    /// RFC 9309
    Robots,
    /// For language models that read sites.
    Llms,
    /// Asked for unasked.
    Favicon,
    /// Anything else under `/.well-known/`, at the origin or below a backend: never a backend's, so
    /// that a probe is answered with 404 and not with a challenge.
    Absent,
    /// The card of one backend, below its MCP endpoint.
    ServerCard,
}

/// The table. Its order is that of [`Endpoint`], and the first row whose path fits has the request.
#[rustfmt::skip]
const TABLE: [Row; 50] = {
    use AuditLog::{BestEffort, Recorded, Required};
    use Caller::{App, Person, Server};
    use Endpoint::*;
    use Path::{
        Below, Exact, ExactDefault, OfAccount, OfProvider, OfResource, Published, Section, UnderMcp, WellKnown,
    };
    [
        row(Health,          Exact("/healthz"),         READ,   Server, Recorded,   NO_BODY),
        row(Home,            Exact("/"),                READ,   Person, Recorded,   NO_BODY),
        row(Asset,           Below("/assets/"),         READ,   Person, Recorded,   NO_BODY),
        row(Authorize,       Exact("/authorize"),       BOTH,   Person, Recorded,   FORM),
        row(Login,           Exact("/login"),           BOTH,   Person, Required,   FORM),
        row(ProviderCallback, OfProvider("/callback"),    READ,   Person, Required,   NO_BODY),
        row(ProviderLogout,   OfProvider("/backchannel"), SUBMIT, Server, BestEffort, FORM),
        document(ProviderKeys, OfProvider("/keys")),
        row(ProviderLogin,    OfProvider(""),             BOTH,   Person, Recorded,   FORM),
        row(Logout,          Exact("/logout"),          SUBMIT, Person, Recorded,   FORM),
        row(Consent,         Exact("/consent"),         SUBMIT, Person, Required,   CONSENT),
        row(Setup,           Exact("/setup"),           BOTH,   Person, Required,   FORM),
        row(Rescue,          Exact("/rescue"),          BOTH,   Person, Required,   FORM),
        row(Account,         Exact("/account"),         READ,   Person, Recorded,   NO_BODY),
        row(AccountRevoke,   Exact("/account/revoke"),  BOTH,   Person, BestEffort, FORM),
        row(AccountApprove,  Exact("/account/approve"), BOTH,   Person, Required,   TOOL),
        row(AccountUnlink,   Exact("/account/unlink"),  BOTH,   Person, BestEffort, FORM),
        row(AccountPasskeys, Exact("/account/passkeys"), READ,  Person, Recorded,   NO_BODY),
        row(AccountPasskeysAdd, Exact("/account/passkeys/add"), BOTH, Person, Required, FORM),
        row(AccountPasskeysRemove, Exact("/account/passkeys/remove"), BOTH, Person, BestEffort, FORM),
        row(AccountPasswordRemove, Exact("/account/password/remove"), BOTH, Person, BestEffort, FORM),
        row(AccountTokens,   Exact("/account/tokens"),  READ,   Person, Recorded,   NO_BODY),
        row(AccountTokensNew, Exact("/account/tokens/new"), BOTH, Person, Required, CONSENT),
        row(AccountTokensRevoke, Exact("/account/tokens/revoke"), BOTH, Person, BestEffort, FORM),
        row(AccountReadmit,  Exact("/account/readmit"), BOTH,   Person, Required,   FORM),
        row(AccountDisconnect, Exact("/account/disconnect"), BOTH, Person, BestEffort, FORM),
        row(ConnectCallback, OfAccount("/callback"),    READ,   Person, Required,   NO_BODY),
        document(ConnectDocument, OfAccount("/client.json")),
        document(ConnectKeys, Exact("/connect/keys")),
        row(Connect,         Section("/connect"),       BOTH,   Person, Required,   FORM),
        row(Admin,           Section("/admin"),         BOTH,   Person, Recorded,   FORM),
        row(BackendPage,     Published,                 READ,   Person, Recorded,   NO_BODY),
        row(Token,           Exact("/token"),           SUBMIT, App,    Required,   FORM),
        row(DeviceAuthorization, Exact("/device_authorization"), SUBMIT, App, Recorded, FORM),
        row(Device,          Exact("/device"),          BOTH,   Person, Recorded, FORM),
        row(Register,        Exact("/register"),        SUBMIT, App,    Required,   FORM),
        row(Revoke,          Exact("/revoke"),          SUBMIT, App,    BestEffort, FORM),
        row(Introspect,      Exact("/introspect"),      SUBMIT, Server, Recorded,   FORM),
        document(AuthorizationServerMetadata, Exact("/.well-known/oauth-authorization-server")),
        document(ProtectedResourceMetadata, OfResource("/.well-known/oauth-protected-resource")),
        document(Manifest, Exact("/.well-known/mcp/manifest.json")),
        document(WellKnownServerCard, ExactDefault("/.well-known/mcp/server-card.json")),
        document(WebKeys, Exact("/.well-known/biscuit-web-keys")),
        document(AppsChallenge, Exact("/.well-known/openai-apps-challenge")),
        document(SecurityTxt, Exact("/.well-known/security.txt")),
        document(Robots, Exact("/robots.txt")),
        document(Llms, Exact("/llms.txt")),
        document(Favicon, Exact("/favicon.ico")),
        document(Absent, WellKnown),
        document(ServerCard, UnderMcp("/server-card")),
    ]
};

// Every endpoint has its row: an endpoint is the number of its row.
const _: () = {
    let mut number = 0;
    while number < TABLE.len() {
        assert!(TABLE[number].endpoint as usize == number);
        number += 1;
    }
};

/// What holds for an endpoint as a whole.
#[derive(Clone, Copy, Debug)]
struct Row {
    endpoint: Endpoint,
    path: Path,
    methods: &'static [Method],
    caller: Caller,
    audit_log: AuditLog,
    body: BodyLimit,
}

const fn row(
    endpoint: Endpoint,
    path: Path,
    methods: &'static [Method],
    caller: Caller,
    audit_log: AuditLog,
    body: BodyLimit,
) -> Row {
    Row {
        endpoint,
        path,
        methods,
        caller,
        audit_log,
        body,
    }
}

/// The row of a public document.
const fn document(endpoint: Endpoint, path: Path) -> Row {
    let (caller, audit_log) = (Caller::App, AuditLog::Recorded);
    row(endpoint, path, READ, caller, audit_log, NO_BODY)
}

/// The paths of an endpoint.
#[derive(Clone, Copy, Debug)]
enum Path {
    /// This one.
    Exact(&'static str),
    /// This one, which is about the default backend.
    ExactDefault(&'static str),
    /// All that begin so.
    Below(&'static str),
    /// This one and all below it.
    Section(&'static str),
    /// `/connect/`, the name of a backend, and this.
    OfAccount(&'static str),
    /// `/login/`, the name of an identity provider, and this.
    OfProvider(&'static str),
    /// This one with the path of one of a backend's endpoints behind it, with or without its slash;
    /// where there is but one backend, also with nothing.
    OfResource(&'static str),
    /// A backend's place, `/pages/`, and the name of one of its pages.
    Published,
    /// All with a segment `.well-known`.
    WellKnown,
    /// A backend's MCP endpoint with this behind it.
    UnderMcp(&'static str),
}

const READ: &[Method] = &[Method::GET, Method::HEAD];
const SUBMIT: &[Method] = &[Method::POST];
const BOTH: &[Method] = &[Method::GET, Method::HEAD, Method::POST];

/// Who calls an endpoint. It says whether scripts of other sites may, and what a fault looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A person's browser, never a script of another site (OAuth 2.1 §3.1).
    Person,
    /// An app, which may be a script of any site (OAuth 2.1 §3.2). Cookies are not sent along.
    App,
    /// A server of the operator's, and no script.
    Server,
}

/// What an endpoint has to do with the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuditLog {
    /// A form or a request gives something: refused while the log can't be written, before anything
    /// is consumed. Where there is no form, a visit is the request.
    Required,
    /// What it gives is written down before the answer leaves, if it gives something.
    Recorded,
    /// It takes access back, which never waits for the log.
    BestEffort,
}

/// The largest body that is read, in bytes; 0 where none is. Anybody can send one: forms are small,
/// but for the lists of tools that people choose from.
#[derive(Clone, Copy, Debug)]
struct BodyLimit {
    anybody: usize,
    logged_in: usize,
}

impl BodyLimit {
    const fn new(limit: usize) -> Self {
        Self {
            anybody: limit,
            logged_in: limit,
        }
    }
}

const NO_BODY: BodyLimit = BodyLimit::new(0);
const FORM: BodyLimit = BodyLimit::new(16 * 1024);
/// The form that approves a tool.
const TOOL: BodyLimit = BodyLimit::new(64 * 1024);
/// The long answer to a page with many tools, all shown and all ticked, is for somebody who is
/// logged in.
const CONSENT: BodyLimit = BodyLimit {
    anybody: 64 * 1024,
    logged_in: 512 * 1024,
};

/// An endpoint, and what its path says beyond that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchedEndpoint {
    /// Which.
    pub endpoint: Endpoint,
    /// The backend that it is about, if it is about one.
    pub subject: Option<Subject>,
}

/// The backend that a document is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The backend.
    pub mount: Mount,
    /// The path that named it, as it was asked for: empty, or with its slashes. Of one of its pages, the
    /// name of that.
    pub path: String,
}

impl Endpoint {
    /// The endpoint at a canonical path, if the gateway answers there itself. Everything under
    /// `/.well-known/` is the gateway's, known or not.
    pub fn find(path: &str, mounts: &[Mount]) -> Option<MatchedEndpoint> {
        TABLE.iter().find_map(|row| {
            let subject = row.path.find(path, mounts)?;
            let endpoint = row.endpoint;
            Some(MatchedEndpoint { endpoint, subject })
        })
    }

    /// What metrics call it: its name in the table, in small letters.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its path, as far as it is always the same.
    pub(crate) const fn path(self) -> &'static str {
        match self.row().path {
            Path::Exact(path)
            | Path::ExactDefault(path)
            | Path::Below(path)
            | Path::Section(path)
            | Path::OfResource(path)
            | Path::UnderMcp(path) => path,
            Path::OfAccount(_) => "/connect/",
            Path::OfProvider(_) => "/login/",
            Path::Published => PAGES,
            Path::WellKnown => "/.well-known/",
        }
    }

    /// The largest body that the endpoint reads of anybody, in bytes; 0 where it reads none.
    pub(crate) const fn body_limit(self) -> usize {
        self.row().body.anybody
    }

    /// The largest body that it reads of somebody who is logged in, in bytes.
    pub(crate) const fn body_limit_of_user(self) -> usize {
        self.row().body.logged_in
    }

    /// Whether it takes a method, besides OPTIONS.
    pub fn takes(self, method: &Method) -> bool {
        self.row().methods.contains(method)
    }

    /// Whether somebody who opened it and had to log in is led back to it.
    pub(crate) const fn is_reached_by_login(self) -> bool {
        matches!(self, Self::Admin | Self::BackendPage | Self::Connect)
    }

    /// The method by which it does what it is for: that of its form, else a visit.
    pub(crate) fn acts_by(self) -> Method {
        if self.takes(&Method::POST) {
            Method::POST
        } else {
            Method::GET
        }
    }

    /// The methods it takes, as `Allow` names them.
    pub(crate) fn allow(self) -> String {
        let mut names: Vec<_> = self.row().methods.iter().map(Method::as_str).collect();
        names.push(Method::OPTIONS.as_str());
        names.join(", ")
    }

    /// Who calls it.
    pub(crate) const fn caller(self) -> Caller {
        self.row().caller
    }

    /// What it has to do with the audit log.
    pub(crate) const fn audit_log(self) -> AuditLog {
        self.row().audit_log
    }
}

/// The one segment of a path between these.
pub(crate) fn between<'p>(begin: &str, path: &'p str, end: &str) -> Option<&'p str> {
    let name = path.strip_prefix(begin)?.strip_suffix(end)?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

impl Path {
    /// What a path of a request is about, if it is one of these: often nothing, sometimes a backend.
    fn find(self, path: &str, mounts: &[Mount]) -> Option<Option<Subject>> {
        let about = |mount: &Mount, path: &str| {
            let (mount, path) = (mount.clone(), path.to_owned());
            Some(Some(Subject { mount, path }))
        };
        match self {
            Self::Exact(exact) => (path == exact).then_some(None),
            Self::Below(folder) => path.starts_with(folder).then_some(None),
            Self::Section(section) => {
                let rest = path.strip_prefix(section)?;
                (rest.is_empty() || rest.starts_with('/')).then_some(None)
            }
            Self::OfAccount(end) => between("/connect/", path, end).map(|_| None),
            Self::OfProvider(end) => between("/login/", path, end).map(|_| None),
            Self::Published => {
                let page = |mount: &'_ Mount| {
                    let below = path.strip_prefix(mount.prefix.as_str())?;
                    below.strip_prefix(PAGES).map(str::to_owned)
                };
                // The innermost, where one backend's place lies in another's.
                let mounts = mounts.iter().filter(|mount| page(mount).is_some());
                let mount = mounts.max_by_key(|mount| mount.prefix.len())?;
                about(mount, &page(mount)?)
            }
            Self::WellKnown => {
                let mut segments = path.split('/');
                segments
                    .any(|segment| segment == ".well-known")
                    .then_some(None)
            }
            Self::ExactDefault(exact) => {
                let mount = default_mount(mounts).filter(|_| path == exact)?;
                about(mount, "")
            }
            Self::OfResource(document) => {
                let resource = path.strip_prefix(document)?;
                let is_path = resource.is_empty() || resource.starts_with('/');
                about(mount_at(resource, mounts).filter(|_| is_path)?, resource)
            }
            Self::UnderMcp(name) => {
                let mcp = path.strip_suffix(name)?;
                about(mounts.iter().find(|mount| mount.mcp_path() == mcp)?, mcp)
            }
        }
    }
}

#[cfg(test)]
mod tests;
