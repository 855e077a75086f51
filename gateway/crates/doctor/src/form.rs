//! Pages and their forms, read with an HTML parser.

use scraper::{ElementRef, Html, Selector};
use url::Url;

use super::exchange::Exchange;

/// The choice of this gateway's consent page that shows the doctor all tools: what it gets is given
/// back at the end.
const EVERYTHING: (&str, &str) = ("tools", "all");

/// An HTML page and where it came from.
pub(super) struct Page {
    url: Url,
    html: Html,
}

/// A form: where it goes and what it sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) action: Url,
    pub(super) post: bool,
    /// Names and preset values, without buttons.
    pub(super) fields: Vec<(String, String)>,
    /// The names of password fields.
    pub(super) passwords: Vec<String>,
    /// The names of visible one-line fields.
    pub(super) texts: Vec<String>,
    pub(super) buttons: Vec<Button>,
    /// Whether the user may allow everything there.
    offers_everything: bool,
}

/// A submit button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Button {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) words: String,
}

/// What the user decides on a consent page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Allow,
    Deny,
}

impl Decision {
    /// Words that a button begins with.
    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Allow => &[
                "allow",
                "approve",
                "authorize",
                "authorise",
                "accept",
                "grant",
                "yes",
            ],
            Self::Deny => &["deny", "cancel", "decline", "reject", "refuse", "no"],
        }
    }
}

impl Page {
    /// The page of an answer, if it is HTML.
    pub(super) fn from_exchange(exchange: &Exchange) -> Option<Self> {
        let answer = exchange.answer()?;
        answer.is_html().then(|| Self {
            url: exchange.url.clone(),
            html: Html::parse_document(&String::from_utf8_lossy(&answer.body)),
        })
    }

    /// What the user reads in an answer; nothing where it is no page.
    pub(super) fn words_of(exchange: &Exchange) -> String {
        let page = Self::from_exchange(exchange);
        page.map(|page| page.words()).unwrap_or_default()
    }

    /// Every form on it.
    pub(super) fn forms(&self) -> Vec<Form> {
        let form = selector("form");
        let forms = self.html.select(&form);
        forms.filter_map(|form| self.form(form)).collect()
    }

    /// The form that asks for a password, filled in.
    pub(super) fn login(&self, name: &str, password: &str) -> Option<Form> {
        let mut forms = self.forms().into_iter();
        let mut form = forms.find(|form| !form.passwords.is_empty())?;
        for field in form.texts.clone() {
            form.set(&field, name);
        }
        for field in form.passwords.clone() {
            form.set(&field, password);
        }
        Some(form)
    }

    /// The form with a button for the decision, that button pressed.
    pub(super) fn decide(&self, decision: Decision) -> Option<Form> {
        let mut forms = self.forms().into_iter();
        forms.find_map(|form| form.press(decision))
    }

    /// What the user reads, at most 200 characters.
    pub(super) fn words(&self) -> String {
        let main = self.html.select(&selector("main, body")).next_back();
        let texts = main.iter().flat_map(ElementRef::text);
        let words = texts.flat_map(str::split_whitespace).collect::<Vec<_>>();
        let words = words.join(" ");
        words.chars().take(200).collect()
    }

    fn form(&self, form: ElementRef<'_>) -> Option<Form> {
        let attribute = |element: &ElementRef<'_>, name| {
            element.value().attr(name).unwrap_or_default().to_owned()
        };
        let mut read = Form {
            action: self.url.join(&attribute(&form, "action")).ok()?,
            post: attribute(&form, "method").eq_ignore_ascii_case("post"),
            fields: Vec::new(),
            passwords: Vec::new(),
            texts: Vec::new(),
            buttons: Vec::new(),
            offers_everything: false,
        };
        for element in form.select(&selector("input, button, textarea, select")) {
            let (name, value) = (attribute(&element, "name"), attribute(&element, "value"));
            let kind = attribute(&element, "type").to_ascii_lowercase();
            let words = element.text().collect::<String>().trim().to_owned();
            match (element.value().name(), kind.as_str()) {
                (_, "button" | "reset" | "image") => {}
                ("button", _) => read.buttons.push(Button { name, value, words }),
                ("input", "submit") => read.buttons.push(Button {
                    name,
                    words: value.clone(),
                    value,
                }),
                ("input", "radio") if (name.as_str(), value.as_str()) == EVERYTHING => {
                    read.offers_everything = true;
                }
                ("input", "checkbox" | "radio") if element.value().attr("checked").is_none() => {}
                _ => {
                    match kind.as_str() {
                        "password" => read.passwords.push(name.clone()),
                        "" | "text" | "email" if element.value().name() == "input" => {
                            read.texts.push(name.clone())
                        }
                        _ => {}
                    }
                    read.fields.push((name, value));
                }
            }
        }
        Some(read)
    }
}

impl Form {
    fn set(&mut self, name: &str, value: &str) {
        self.fields.retain(|(key, _)| key != name);
        self.fields.push((name.to_owned(), value.to_owned()));
    }

    fn press(mut self, decision: Decision) -> Option<Self> {
        let meant = |text: &str| {
            let text = text.to_lowercase();
            let first = text.split(|c: char| !c.is_alphanumeric()).next();
            first.is_some_and(|first| decision.words().contains(&first))
        };
        let button = self
            .buttons
            .iter()
            .find(|button| meant(&button.words) || meant(&button.value))?
            .clone();
        if !button.name.is_empty() {
            self.set(&button.name, &button.value);
        }
        if self.offers_everything {
            self.set(EVERYTHING.0, EVERYTHING.1);
        }
        Some(self)
    }
}

fn selector(css: &str) -> Selector {
    Selector::parse(css).expect("a constant selector, parsed by every test of a page")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::tests::exchange;

    fn page(body: &str) -> Page {
        let headers = [("content-type", "text/html; charset=utf-8")];
        Page::from_exchange(&exchange(
            "GET",
            "https://h.example/authorize?x=1",
            200,
            &headers,
            body,
        ))
        .unwrap()
    }

    fn value<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
        let found = form.fields.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_login_form_keeps_its_hidden_fields_and_gets_name_and_password() {
        let page = page(
            r#"<main><form method="post" action="/login"><input type="hidden" name="seal" value="a&amp;b">
            <input name="name" type="text"><input name="password" type="password"><input type="checkbox" name="stay">
            <button>Log in</button></form></main>"#,
        );
        let form = page.login("alice", "pass word").unwrap();
        assert_eq!(form.action.as_str(), "https://h.example/login");
        assert!(form.post);
        assert_eq!(value(&form, "seal"), Some("a&b"));
        assert_eq!(value(&form, "name"), Some("alice"));
        assert_eq!(value(&form, "password"), Some("pass word"));
        assert_eq!(value(&form, "stay"), None);
        assert_eq!(page.words(), "Log in");
    }

    #[test]
    fn the_right_button_is_pressed_among_several_forms() {
        let page = page(
            r#"<form method="post" action="/logout"><button>Not you? Switch account</button></form>
            <form method="post" action="/consent"><input type="hidden" name="seal" value="s">
            <button name="decision" value="deny">Deny</button><button name="decision" value="allow">Allow access</button></form>"#,
        );
        let allow = page.decide(Decision::Allow).unwrap();
        assert_eq!(value(&allow, "decision"), Some("allow"));
        assert_eq!(allow.action.path(), "/consent");
        let deny = page.decide(Decision::Deny).unwrap();
        assert_eq!(value(&deny, "decision"), Some("deny"));
        assert_eq!(value(&deny, "seal"), Some("s"));
    }

    #[test]
    fn a_page_without_such_a_form_gives_none() {
        let page = page("<p>Nobody owns this yet</p>");
        assert!(page.login("a", "b").is_none());
        assert!(page.decide(Decision::Allow).is_none());
    }
}
