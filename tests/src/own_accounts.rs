//! A world in which everybody calls one backend with their own account there: a server that answers each
//! by the key that a request carries, gateways in front of it, and people who connect keys.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::browser::{Browser, Form};
use crate::gateway::{Gateway, Owner, Setup};
use crate::mcp;
use crate::oauth::{Authorization, OAuthClient};
use crate::operator;
use crate::recorder::{Answer, Recorded, Recorder};
use crate::redis::Redis;
use crate::scripted_mcp;

/// The key that a person pastes.
pub fn key(name: &str) -> String {
    format!("secret-key-of-{name}")
}

/// Whose key a request carries, if it is one.
pub fn caller(request: &Recorded) -> Option<String> {
    let keys = request.header_values("x-api-key");
    match keys.as_slice() {
        [key] => key.strip_prefix("secret-key-of-").map(str::to_owned),
        _ => None,
    }
}

/// A server that answers nobody who has no key, and each by their own: the tools that they have, sessions
/// that are theirs, and `whoami`.
pub fn answer(request: &Recorded) -> Answer {
    let Some(caller) = caller(request) else {
        let challenge = "Bearer resource_metadata=\"https://elsewhere.example/x\"";
        return Answer::json(401, &json!({"error": "who"})).with("WWW-Authenticate", challenge);
    };
    let session = format!("session-of-{caller}");
    if let Some(presented) = request.header("mcp-session-id")
        && presented != session
    {
        return Answer::json(404, &json!({"error": "session"}));
    }
    if request.method != "POST" {
        return scripted_mcp::answer(request);
    }
    let asked = request.json();
    let result = match asked["method"].as_str().unwrap_or_default() {
        "initialize" => {
            let hello = Answer::json(200, &scripted_mcp::reply(&asked));
            return hello.with("Mcp-Session-Id", &session);
        }
        "tools/list" => {
            let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
            json!({"tools": [tool("whoami"), tool(&format!("of_{caller}"))]})
        }
        "tools/call" => json!({"content": [{"type": "text", "text": caller}]}),
        _ => return scripted_mcp::answer(request),
    };
    Answer::json(
        200,
        &json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}),
    )
}

/// The table of a backend that people call with a key.
pub const ACCOUNT: &str = "\n[backend.account]\nkind = \"key\"\nheader = \"X-Api-Key: {}\"\n";

/// Replicas in front of one backend, and people.
pub struct World {
    /// Replicas.
    pub gateways: Vec<Gateway>,
    /// The server behind them.
    pub backend: Recorder,
    _redis: Redis,
    /// The owner.
    pub alice: Owner,
    /// Somebody else.
    pub bob: Owner,
}

impl World {
    /// So many replicas.
    pub async fn start(replicas: usize) -> Result<Self> {
        Self::with(replicas, ACCOUNT).await
    }

    /// The same with this table in the place of [`ACCOUNT`].
    pub async fn with(replicas: usize, account: &str) -> Result<Self> {
        let backend = Recorder::start(answer).await?;
        let redis = Redis::start().await?;
        let setup = || Setup {
            store: Some(redis.url()),
            only_more: true,
            ..Setup::default()
        };
        let table = format!(
            "[[backend]]\nname = \"mine\"\npath = \"/\"\nurl = \"{}\"\n{account}",
            backend.url()
        );
        let first = Gateway::start(setup().more(&table)).await?;
        let mut gateways = vec![first];
        for _ in 1..replicas {
            let keys = gateways[0].folder().join("keys");
            let replica = Setup {
                public_url: Some(gateways[0].issuer()),
                environment: vec![("GATEWAY__KEYS_DIR".into(), keys.display().to_string())],
                ..setup()
            };
            gateways.push(Gateway::start(replica.more(&table)).await?);
        }
        let bob = Owner {
            name: "bob".into(),
            password: "another long password".into(),
        };
        operator::done(&gateways[0], &["users", "add", &bob.name], &bob.password).await?;
        Ok(World {
            gateways,
            backend,
            _redis: redis,
            alice: Owner::alice(),
            bob,
        })
    }

    /// The first replica.
    pub fn gateway(&self) -> &Gateway {
        &self.gateways[0]
    }

    /// Its MCP endpoint.
    pub fn url(&self) -> String {
        self.gateway().url("/mcp")
    }

    /// The address of a replica, with the Host of all of them.
    pub fn post(&self, replica: usize, token: &str, body: &Value) -> reqwest::RequestBuilder {
        let host = self.gateway().issuer().replace("http://", "");
        mcp::post(&self.gateways[replica].url("/mcp"), token, body).header("Host", host)
    }

    /// A token of a person who connects a key on the way; `None` goes on without, where that is optional.
    pub async fn sign_in(&self, who: &Owner, key: Option<&str>) -> Result<String> {
        let client = OAuthClient::register(&self.gateway().origin(), "An app").await?;
        let request = client.authorization();
        let callback = authorize(&mut Browser::default(), &request, who, key).await?;
        let reply = client.redeem(&callback, &request.pkce.verifier).await?;
        let token = reply.json()["access_token"].as_str().map(str::to_owned);
        token.with_context(|| reply.text.clone())
    }

    /// A token for these tools, of a person who connects a key on the way.
    pub async fn sign_in_choosing(&self, who: &Owner, tools: &[&str]) -> Result<String> {
        self.sign_in_choosing_with(who, &key(&who.name), tools)
            .await
    }

    /// The same with this key.
    pub async fn sign_in_choosing_with(
        &self,
        who: &Owner,
        key: &str,
        tools: &[&str],
    ) -> Result<String> {
        connect(self, who, key).await?;
        let client = OAuthClient::register(&self.gateway().origin(), "A careful app").await?;
        let choose = |form: &mut Form| form.choose_tools(tools);
        client.sign_in_choosing(who, choose).await
    }

    /// A token of a person who has no account any more.
    pub async fn sign_in_without(&self, who: &Owner) -> Result<String> {
        let token = self.sign_in(who, Some(&key(&who.name))).await?;
        remove(self, who).await?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while mcp::send(&self.url(), &token, &whoami(1))
            .await?
            .text
            .contains(&who.name)
        {
            anyhow::ensure!(Instant::now() < deadline, "the account still answers");
        }
        Ok(token)
    }
}

/// From the app's request through login, the key, and consent: the code.
pub async fn authorize(
    browser: &mut Browser,
    request: &Authorization,
    who: &Owner,
    key: Option<&str>,
) -> Result<String> {
    let mut page = browser.visit(&request.url()).await?;
    if page.password_form().is_ok() && page.form_with_button("Connect").is_err() {
        page = browser.log_in(&page, &who.name, &who.password).await?;
    }
    if let Ok(form) = page.form_with_button("Connect") {
        let form = match key {
            Some(key) => {
                let mut form = form.press("Connect")?;
                form.set("key", key);
                form
            }
            None => form.press("Go on")?,
        };
        let next = browser.submit(&form).await?;
        page = browser.settle(next).await?;
    }
    let last = browser.answer(&page, "Allow").await?;
    let url = last.location().with_context(|| last.words())?;
    let code = url.query_pairs().find(|(name, _)| name == "code");
    Ok(code.context("no code")?.1.into_owned())
}

/// A call that is answered with the caller's name.
pub fn whoami(id: u64) -> Value {
    mcp::call(id, "whoami", &json!({}))
}

/// The text in the result of a call.
pub fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_default()
}

/// The link in an answer of the gateway's own.
pub fn link(words: &str) -> Option<&str> {
    let at = words.find("/connect")?;
    let begin = words[..at].rfind("http")?;
    let rest = &words[begin..];
    Some(&rest[..rest.find([' ', '"']).unwrap_or(rest.len())])
}

/// Connects a key on its page.
pub async fn connect(world: &World, who: &Owner, key: &str) -> Result<()> {
    let page = world.gateway().url("/connect/mine");
    connect_at(&mut Browser::default(), &page, who, key).await
}

/// Removes the account under `/account`.
pub async fn remove(world: &World, who: &Owner) -> Result<()> {
    let mut browser = Browser::default();
    let page = browser
        .visit(&world.gateway().url("/account").parse()?)
        .await?;
    let page = browser.log_in(&page, &who.name, &who.password).await?;
    let forms = page.forms();
    let form = forms.into_iter().find(|form| {
        form.buttons
            .iter()
            .any(|(_, _, words)| words.starts_with("Remove"))
    });
    let form = form.with_context(|| page.words())?.press("Remove")?;
    let next = browser.submit(&form).await?;
    let page = browser.settle(next).await?;
    anyhow::ensure!(page.reply.status == 200, "{}", page.words());
    Ok(())
}

/// Connects a key on the page at the address that an app shows.
pub async fn connect_at(
    browser: &mut Browser,
    address: &str,
    who: &Owner,
    key: &str,
) -> Result<()> {
    let page = browser.visit(&address.parse()?).await?;
    let page = browser.log_in(&page, &who.name, &who.password).await?;
    let mut form = page.form_with_button("Connect")?.press("Connect")?;
    form.set("key", key);
    let next = browser.submit(&form).await?;
    let done = browser.settle(next).await?;
    anyhow::ensure!(done.reply.status == 200, "{}", done.words());
    Ok(())
}
