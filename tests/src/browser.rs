//! A browser without JavaScript: pages, their forms, cookies of one origin. It
//! follows no redirect by itself, so that a test sees every step, and it keeps
//! `Secure` cookies on loopback as browsers do.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use scraper::{ElementRef, Html, Selector};
use serde_json::Value;
use url::Url;

use crate::http::{self, Reply};

/// Steps from an authorization URL to the client; more is a loop.
const MAX_STEPS: usize = 12;

/// A page or redirect that the browser received, and where from.
#[derive(Clone, Debug)]
pub struct Page {
    /// The URL that was asked for.
    pub url: Url,
    /// The response.
    pub reply: Reply,
}

/// A form as found on a page.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// Absolute.
    pub action: String,
    /// `GET` or `POST`.
    pub method: String,
    /// Names and preset values of what would be sent; without buttons.
    pub fields: Vec<(String, String)>,
    /// The names of password fields.
    pub passwords: Vec<String>,
    /// The names of visible one-line text fields.
    pub texts: Vec<String>,
    /// Radio buttons that can be pressed: name and value.
    pub radios: Vec<(String, String)>,
    /// Submit buttons: name, value, and what a person reads on them.
    pub buttons: Vec<(String, String, String)>,
}

impl Form {
    /// Set a field, adding it when the form has none of that name.
    pub fn set(&mut self, name: &str, value: &str) {
        self.fields.retain(|(key, _)| key != name);
        self.fields.push((name.into(), value.into()));
    }

    /// Press a radio button. Fails when there is none that can be pressed.
    pub fn choose(&mut self, name: &str, value: &str) -> Result<()> {
        let wanted = (name.to_owned(), value.to_owned());
        anyhow::ensure!(
            self.radios.contains(&wanted),
            "no {wanted:?} among {:?}",
            self.radios
        );
        self.set(name, value);
        Ok(())
    }

    /// Choose tools one by one: these boxes are ticked and no others.
    pub fn choose_tools(&mut self, tools: &[&str]) -> Result<()> {
        self.choose("tools", "chosen")?;
        self.fields.retain(|(name, _)| name != "tool");
        let ticked = tools.iter().map(|tool| ("tool".into(), (*tool).into()));
        self.fields.extend(ticked);
        Ok(())
    }

    /// The preset value of a field.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// With a person's name and password typed in. A one-time code stays as the page set it.
    #[must_use]
    pub fn filled(mut self, name: &str, password: &str) -> Self {
        for text in self.texts.clone().iter().filter(|text| *text != "code") {
            self.set(text, name);
        }
        for secret in self.passwords.clone() {
            self.set(&secret, password);
        }
        self
    }

    /// Press the button that reads `words` (ignoring case): what would be sent.
    pub fn press(mut self, words: &str) -> Result<Self> {
        let button = self
            .buttons
            .iter()
            .find(|(_, _, text)| text.to_lowercase().starts_with(&words.to_lowercase()));
        let (name, value, _) = button
            .with_context(|| format!("no button {words:?} among {:?}", self.buttons))?
            .clone();
        if !name.is_empty() {
            self.set(&name, &value);
        }
        Ok(self)
    }
}

impl Page {
    /// Where it redirects to, absolute.
    pub fn location(&self) -> Option<Url> {
        let location = self.reply.header("location");
        if (300..400).contains(&self.reply.status) && !location.is_empty() {
            self.url.join(location).ok()
        } else {
            None
        }
    }

    /// Every form on the page.
    pub fn forms(&self) -> Vec<Form> {
        let html = Html::parse_document(&self.reply.text);
        html.select(&selector("form"))
            .map(|form| self.read_form(form))
            .collect()
    }

    /// The form for a passkey, and what its script is to ask the browser.
    pub fn passkey_form(&self) -> Result<(Form, Value)> {
        let html = Html::parse_document(&self.reply.text);
        let button = html.select(&selector("button[data-passkey]")).next();
        let button = button.with_context(|| self.complaint("no button for passkeys"))?;
        let options = button.value().attr("data-options").unwrap_or_default();
        let has = |form: &Form| form.value("credential").is_some();
        let form = self.forms().into_iter().find(has);
        let form = form.with_context(|| self.complaint("no form for passkeys"))?;
        Ok((form, serde_json::from_str(options)?))
    }

    /// The form that asks for a password.
    pub fn password_form(&self) -> Result<Form> {
        self.forms()
            .into_iter()
            .find(|form| !form.passwords.is_empty())
            .with_context(|| self.complaint("no password form"))
    }

    /// The form with a button that starts with `words`.
    pub fn form_with_button(&self, words: &str) -> Result<Form> {
        let has = |form: &Form| {
            form.buttons
                .iter()
                .any(|(_, _, text)| text.to_lowercase().starts_with(&words.to_lowercase()))
        };
        self.forms()
            .into_iter()
            .find(has)
            .with_context(|| self.complaint(&format!("no button {words:?}")))
    }

    /// What a person reads, white space collapsed.
    pub fn words(&self) -> String {
        let html = Html::parse_document(&self.reply.text);
        let text: String = html
            .select(&selector("body"))
            .flat_map(|body| body.text())
            .collect::<Vec<_>>()
            .join(" ");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn complaint(&self, what: &str) -> String {
        format!(
            "{what} at {} (status {}): {}",
            self.url.path(),
            self.reply.status,
            self.reply.text.chars().take(1500).collect::<String>()
        )
    }

    fn read_form(&self, form: ElementRef<'_>) -> Form {
        let attribute =
            |e: &ElementRef<'_>, name: &str| e.value().attr(name).unwrap_or_default().to_owned();
        let action = self
            .url
            .join(&attribute(&form, "action"))
            .map(String::from)
            .unwrap_or_default();
        let method = attribute(&form, "method").to_uppercase();
        let mut read = Form {
            action,
            method: if method.is_empty() {
                "GET".into()
            } else {
                method
            },
            ..Form::default()
        };
        for element in form.select(&selector("input, button, textarea, select")) {
            let (name, value) = (attribute(&element, "name"), attribute(&element, "value"));
            let kind = attribute(&element, "type").to_lowercase();
            let words = element.text().collect::<String>().trim().to_owned();
            if kind == "radio" && element.value().attr("disabled").is_none() {
                read.radios.push((name.clone(), value.clone()));
            }
            match (element.value().name(), kind.as_str()) {
                ("button", "button" | "reset") | ("input", "button" | "reset") => {}
                ("button", _) => read.buttons.push((name, value, words)),
                ("input", "submit") => read.buttons.push((name, value.clone(), value)),
                ("input", "checkbox" | "radio") if element.value().attr("checked").is_none() => {}
                _ => {
                    if kind == "password" {
                        read.passwords.push(name.clone());
                    } else if matches!(kind.as_str(), "" | "text" | "email") {
                        read.texts.push(name.clone());
                    }
                    read.fields.push((name, value));
                }
            }
        }
        read
    }
}

/// A field as browsers send it: each line break is CRLF, whatever it was on the page (HTML, form
/// submission).
fn as_sent((name, value): &(String, String)) -> (String, String) {
    let sent = |text: &str| text.replace("\r\n", "\n").replace('\n', "\r\n");
    (sent(name), sent(value))
}

fn selector(css: &str) -> Selector {
    Selector::parse(css).expect("a constant selector")
}

/// Cookies and the person behind them.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    /// By name.
    pub cookies: BTreeMap<String, String>,
    /// The public URL that it believes to be at, where that is not the listener's own.
    pub public: Option<Url>,
}

impl Browser {
    /// GET a page.
    pub async fn open(&mut self, url: &Url) -> Result<Page> {
        let request = http::client().get(url.clone());
        self.exchange(url, request).await
    }

    /// Send a form as its page asks.
    pub async fn submit(&mut self, form: &Form) -> Result<Page> {
        let mut url = Url::parse(&form.action)?;
        let fields: Vec<_> = form.fields.iter().map(as_sent).collect();
        let request = if form.method == "POST" {
            http::client()
                .post(url.clone())
                .header("Origin", self.origin(&url))
                .form(&fields)
        } else {
            url.set_query(None);
            url.query_pairs_mut().extend_pairs(&fields);
            http::client().get(url.clone())
        };
        self.exchange(&url, request).await
    }

    /// Follow redirects while they stay on the page's own origin.
    pub async fn settle(&mut self, mut page: Page) -> Result<Page> {
        for _ in 0..MAX_STEPS {
            match page.location() {
                Some(next) if next.origin() == page.url.origin() => page = self.open(&next).await?,
                _ => return Ok(page),
            }
        }
        bail!(
            "redirected more than {MAX_STEPS} times, last to {}",
            page.url.path()
        )
    }

    /// Open a URL and follow redirects on its own origin.
    pub async fn visit(&mut self, url: &Url) -> Result<Page> {
        let page = self.open(url).await?;
        self.settle(page).await
    }

    /// Fill in the login form of `page` and follow on.
    pub async fn log_in(&mut self, page: &Page, name: &str, password: &str) -> Result<Page> {
        let next = self
            .submit(&page.password_form()?.filled(name, password))
            .await?;
        self.settle(next).await
    }

    /// Press a consent button and return the answer, which leads to the client. Where there is a
    /// choice, everything is allowed: what the page offers first is tested where that matters.
    pub async fn answer(&mut self, page: &Page, words: &str) -> Result<Page> {
        let mut form = page.form_with_button(words)?.press(words)?;
        let _ = form.choose("tools", "all");
        let next = self.submit(&form).await?;
        self.settle(next).await
    }

    fn origin(&self, url: &Url) -> String {
        let public = self.public.as_ref().unwrap_or(url);
        public.origin().ascii_serialization()
    }

    async fn exchange(&mut self, url: &Url, request: reqwest::RequestBuilder) -> Result<Page> {
        let mut request = request.header("Accept", "text/html,application/xhtml+xml");
        if self.public.is_some() {
            let origin = self.origin(url);
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            request = request.header("Host", host);
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header("Cookie", cookies.join("; "));
        }
        let reply = http::send(request).await?;
        for cookie in reply.header_values("set-cookie") {
            let (name, value) = cookie
                .split(';')
                .next()
                .unwrap_or_default()
                .split_once('=')
                .context("a cookie without a value")?;
            if value.is_empty() || cookie.to_lowercase().contains("max-age=0") {
                self.cookies.remove(name.trim());
            } else {
                self.cookies.insert(name.trim().into(), value.into());
            }
        }
        Ok(Page {
            url: url.clone(),
            reply,
        })
    }
}
