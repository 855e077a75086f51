//! Lists of tools on their way to a restricted token: they show what the token allows, as it was
//! when it was allowed, and nothing else. Answers of known kind that list nothing, and all answers
//! for unrestricted tokens, do not come here.
//!
//! Owns: events and bodies taken apart and put together. Not: finding lists in a text
//! (`mcp_protocol::tool_list`), which tool stays (`tool_list_cut`).

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use aho_corasick::AhoCorasick;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use memchr::memmem;

use super::context::RequestContext;
use super::event_filter::{JudgeEvents, escape};
use super::known_lists::{KnownLists, ReadList};
use super::mounted_backend::MountedBackend;
use super::policy_input;
use super::sessions::Sessions;
use super::tasks::Tasks;
use gateway_core::clock::Clock;
use gateway_core::grants::ToolState;
use gateway_core::policy::{AccessToken, Permit, PolicyHandle};
use gateway_store::RevocationView;
use gateway_upstream::{Caller, Catalogue, Tool};
use mcp_protocol::calls::Call;
use mcp_protocol::sse::{self, Event, has_line_breaks};
use mcp_protocol::tool_list::{self, Unreadable};

/// The largest event that is held to be judged. One that is larger ends its stream.
pub(super) const LARGEST_EVENT: usize = 16 * 1024 * 1024;

/// The largest list that is not in an event.
const LARGEST_LIST: usize = 4 * 1024 * 1024;

/// Characters that some readers of event streams take for the end of a line, though the standard
/// does not (Python's `splitlines`): they could hide an event within another.
pub(super) const LINE_BREAKS: [char; 8] = [
    '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
];

/// What an event that is not plain has in it where it may be changed on its way: a list of tools, or a
/// word of it; a request or notification; what a server can do; a task; an escape, which may hide each of
/// these; a character that some take for the end of a line. Without any of them it goes on unparsed.
static JUDGED: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let breaks = LINE_BREAKS.map(String::from);
    let mut all = vec![
        "tool",
        "\\u",
        "\"method\"",
        "\"capabilities\"",
        "\"task\"",
        "\"taskid\"",
    ];
    all.extend(breaks.iter().map(String::as_str));
    tool_list::words(&all)
});

/// What lists are judged by, and what is remembered of them.
#[derive(Clone, Copy)]
pub(super) struct FilterDependencies<'a> {
    pub(super) catalogue: &'a Arc<Catalogue>,
    pub(super) policy: &'a PolicyHandle,
    pub(super) revocations: &'a RevocationView,
    pub(super) sessions: &'a Sessions,
    pub(super) tasks: &'a Tasks,
    pub(super) known_lists: &'a KnownLists,
    pub(super) clock: Clock,
}

/// Judges what one exchange answers.
#[derive(Clone, Copy)]
pub(super) struct ToolListFilter<'a> {
    pub(super) dependencies: FilterDependencies<'a>,
    pub(super) mounted: &'a MountedBackend,
    pub(super) context: &'a RequestContext,
    pub(super) token: &'a AccessToken,
    /// What the exchange is for; empty for a stream.
    pub(super) calls: &'a [Call],
    /// The session that it belongs to; empty where there is none.
    pub(super) conversation: &'a str,
}

impl ToolListFilter<'_> {
    /// A message or batch with the tools cut out that the token does not allow. `None`: unchanged.
    pub(super) async fn judge(&self, text: &str) -> Result<Option<String>, Unreadable> {
        let token = &self.token_now();
        let filter = ToolListFilter { token, ..*self };
        if let Some(list) = filter.known(text.as_bytes()) {
            return Ok(filter.cut_text(&list, text).await);
        }
        let list = filter.read(text)?;
        let cut = filter.cut_text(&list, text).await;
        Ok(filter.named(cut.as_deref().unwrap_or(text)).or(cut))
    }

    /// A stream outlasts what was known when it began.
    fn token_now(&self) -> AccessToken {
        let grant = &self.token.claims().grant;
        let amended = self.dependencies.revocations.amended(grant);
        self.token.clone().amended(amended)
    }

    async fn cut_text(&self, list: &ReadList, text: &str) -> Option<String> {
        let cut = self.cut(list, text.as_bytes()).await?;
        // Whole values are cut out, and what they stood between.
        String::from_utf8(cut).ok()
    }

    /// The list that these bytes are, if this client was told it before. Then nothing else in them is
    /// changed: a list was asked for and they answer with nothing else, under whatever id.
    fn known(&self, text: &[u8]) -> Option<Arc<ReadList>> {
        let known_lists = self.dependencies.known_lists;
        self.may_be_known()
            .then(|| known_lists.find(self.token.claims(), text))
            .flatten()
    }

    /// What an account of somebody's own is told is read each time, and kept nowhere.
    fn may_be_known(&self) -> bool {
        let asks_for_list = matches!(self.calls, [call] if call.method == "tools/list");
        asks_for_list && self.token.account().is_none()
    }

    fn read(&self, text: &str) -> Result<Arc<ReadList>, Unreadable> {
        let catalogue = self.dependencies.catalogue;
        let is_change = memmem::find(text.as_bytes(), b"tools/list_changed").is_some();
        if is_change {
            let definitions = catalogue.definitions();
            if self.mounted.backend.account.is_some() {
                definitions.invalidate_for(self.backend(), self.user());
            } else {
                definitions.invalidate(self.backend());
            }
        }
        if !self.may_be_known() || is_change {
            return ReadList::read(text, catalogue.pins()).map(Arc::new);
        }
        let known_lists = self.dependencies.known_lists;
        known_lists.read(self.token.claims(), text, catalogue.pins())
    }

    /// Whether the token's tools may have user interfaces of their own. Where that is not known,
    /// they may.
    pub(super) fn may_show_interfaces(&self) -> bool {
        let catalogue = self.dependencies.catalogue;
        let listing = catalogue.cached_listing(self.backend(), self.caller());
        listing.is_none_or(|listing| {
            let mut tools = listing.tools.iter();
            tools.any(|tool| !tool.interfaces.is_empty() && shows(self.token, tool))
        })
    }

    pub(super) fn backend(&self) -> &str {
        &self.mounted.backend.mount.name
    }

    pub(super) fn user(&self) -> &str {
        &self.token.claims().user_name
    }

    pub(super) fn caller(&self) -> Caller<'_> {
        policy_input::caller(self.token)
    }

    /// A body that may hold a list. With `is_lenient` it need not be JSON: an error page, or the
    /// acknowledgement of the legacy transport, in which nobody looks for a list.
    pub(super) async fn judge_body(
        &self,
        body: Vec<u8>,
        is_lenient: bool,
    ) -> Result<Bytes, Unreadable> {
        if let Some(list) = self.known(&body) {
            let token = &self.token_now();
            let cut = ToolListFilter { token, ..*self }.cut(&list, &body).await;
            return Ok(Bytes::from(cut.unwrap_or(body)));
        }
        let mut text = String::from_utf8(body).map_err(|_| Unreadable)?;
        // RFC 8259 §8.1: it must not be there, and a reader may skip it.
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        // UTF-16 of ASCII is valid UTF-8 with NULs, and some clients read it.
        if text.contains('\0') {
            return Err(Unreadable);
        }
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        if !is_json && !is_lenient && !text.is_empty() {
            return Err(Unreadable);
        }
        match self.judge(&text).await {
            Ok(None) => Ok(Bytes::from(text)),
            Ok(Some(cut)) => Ok(Bytes::from(cut)),
            Err(_) if !is_json && is_lenient => Ok(Bytes::from(text)),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing but the result of one call is awaited, which lists nothing and is no task. Of any
    /// other answer more may be changed than what its beginning tells.
    fn awaits_result(&self) -> bool {
        const METHODS: [&str; 3] = ["tools/call", "resources/read", "prompts/get"];
        matches!(self.calls, [call] if METHODS.contains(&call.method.as_str()))
    }
}

impl JudgeEvents for ToolListFilter<'_> {
    async fn judge_event(&self, bytes: Vec<u8>) -> Result<Vec<u8>, Unreadable> {
        let text = std::str::from_utf8(&bytes).map_err(|_| Unreadable)?;
        if !JUDGED.is_match(text) {
            return Ok(bytes);
        }
        let has_breaks = has_line_breaks(text);
        let Some(event) = Event::parse(&bytes) else {
            return Ok(if has_breaks { Vec::new() } else { bytes });
        };
        // What is judged is what goes on.
        let data = without_breaks(&event.data);
        let cut = self.judge(&data).await?;
        if cut.is_none() && !has_breaks {
            return Ok(bytes);
        }
        let data = cut.as_deref().map_or(data, without_breaks);
        Ok(with_data(text, &data))
    }

    fn may_pass_early(&self) -> bool {
        self.awaits_result()
    }
}

/// How large a body may be that is looked into whole, because something was asked for that is
/// judged. `None`: nothing was.
pub(super) fn are_asked_for(permit: &Permit, body: Option<&Bytes>) -> Option<usize> {
    let method = |wanted: &[&str]| {
        let mut calls = permit.calls().iter();
        calls.any(|call| wanted.contains(&call.method.as_str()))
    };
    if method(&["initialize", "server/discover", "tools/list"]) {
        return Some(LARGEST_LIST);
    }
    if !permit.token().is_restricted() {
        return None;
    }
    // Only who says so may be given a task.
    let knows_tasks = || {
        body.is_some_and(|body| {
            memmem::find(body, b"task").is_some() || memmem::find(body, b"\\u").is_some()
        })
    };
    let may_name_task = method(&["tasks/get", "tasks/cancel", "tasks/update"])
        || method(&["tools/call"]) && knows_tasks();
    may_name_task.then_some(LARGEST_EVENT)
}

/// Whether a tool as the backend offers it is one that the token has now.
pub(super) fn shows(token: &AccessToken, tool: &Tool) -> bool {
    let definition = &tool.definition;
    let current = || ToolState::Defined(tool.pin);
    token
        .shows(definition.name(), definition.reads_only(), current)
        .is_ok()
}

/// Whether an answer can be looked into at all.
pub(super) fn can_be_read(headers: &HeaderMap) -> bool {
    let coding = headers.get(CONTENT_ENCODING);
    let kind = headers.get(CONTENT_TYPE);
    let kind = kind.map(|kind| kind.as_bytes().to_ascii_lowercase());
    let charset = kind
        .as_deref()
        .map(String::from_utf8_lossy)
        .and_then(|kind| {
            let (_, charset) = kind.split_once("charset=")?;
            let end = charset.find(';').unwrap_or(charset.len());
            Some(charset[..end].trim_matches([' ', '"']).to_owned())
        });
    let is_plain = coding.is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    is_plain && charset.is_none_or(|charset| ["utf-8", "utf8", "us-ascii"].contains(&&*charset))
}

/// Data in which no line ends but where the standard says.
fn without_breaks(data: &str) -> Cow<'_, str> {
    if !has_line_breaks(data) {
        return Cow::Borrowed(data);
    }
    let mut escaped = String::with_capacity(data.len() + 16);
    for c in data.chars() {
        if LINE_BREAKS.contains(&c) {
            escaped.push_str(&escape(c))
        } else {
            escaped.push(c)
        }
    }
    Cow::Owned(escaped)
}

/// An event with other data; its other lines stay, but for those that could be read as two.
fn with_data(event: &str, data: &str) -> Vec<u8> {
    let mut out = String::with_capacity(data.len() + 64);
    let mut is_written = false;
    for line in sse::lines(event) {
        let field = line.split_once(':').map_or(line, |(field, _)| field);
        if field.trim_start_matches('\u{feff}') != "data" {
            if !has_line_breaks(line) {
                out.push_str(line);
                out.push('\n');
            }
            continue;
        }
        if !std::mem::replace(&mut is_written, true) {
            for line in data.split('\n') {
                out.push_str("data: ");
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out.push('\n');
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_anybody_could_take_for_more_than_an_answer_is_looked_into() {
        let event = |text: &str| format!("data: {{\"jsonrpc\":\"2.0\",\"id\":1,{text}}}\n\n");
        for judged in [
            r#""result":{"tools":[]}"#,
            r#""result":{"Tools":[]}"#,
            r#""result":{"\u0074\u006fols":[]}"#,
            r#""result":{"capabilities":{}}"#,
            r#""result":{"taskId":"t"}"#,
            r#""result":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#,
            r#""method":"roots/list""#,
            "\"result\":{\"a\":\"x\u{2028}data: y\"}",
            "\"result\":{\"a\":\"x\u{85}data: y\"}",
            "\"result\":{\"a\":\"x\u{b}data: y\"}",
        ] {
            assert!(JUDGED.is_match(&event(judged)), "{judged}");
        }
        let answer =
            r#""result":{"content":[{"type":"text","text":"a \"method\" of é, or a task"}]}"#;
        assert!(!JUDGED.is_match(&event(answer)));
    }

    #[test]
    fn an_event_keeps_its_other_lines() {
        let with = |event: &str, data: &str| String::from_utf8(with_data(event, data)).unwrap();
        assert_eq!(
            with(
                "\nid: 3\r\nevent: message\r\ndata: {a\r\ndata: b}\r\n: note\r\nretry: 5\r\n\r\n",
                "x\ny"
            ),
            "id: 3\nevent: message\ndata: x\ndata: y\n: note\nretry: 5\n\n"
        );
        assert_eq!(
            with("data: a\n: b\u{2028}data: c\nid: 1\u{85}2\n\n", "d"),
            "data: d\n\n"
        );
    }

    #[test]
    fn what_some_take_for_the_end_of_a_line_is_escaped() {
        assert_eq!(
            without_breaks("{\"a\":\"b\u{2028}c\"}"),
            r#"{"a":"b\u2028c"}"#
        );
        assert!(matches!(without_breaks("é"), Cow::Borrowed("é")));
    }

    #[test]
    fn answers_in_other_encodings_are_not_looked_into() {
        let head = |lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().unwrap());
            }
            can_be_read(&headers)
        };
        assert!(head(&[]));
        assert!(head(&[(
            "content-type",
            "application/json; Charset=\"UTF-8\"; x=y"
        )]));
        assert!(!head(&[(
            "content-type",
            "application/json; charset=utf-16"
        )]));
        assert!(!head(&[("content-encoding", "gzip")]));
    }
}
