//! Session ids towards clients: the backend's own id and a tag over who it was given to. Nothing
//! is stored, replicas with the same keys agree, and a stolen id is worth nothing to another user,
//! client or backend.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;

use super::headers::{SESSION, text};
use super::holder::Holder;
use gateway_core::access_token::Claims;
use gateway_core::account::AccountId;
use gateway_core::protocol::resource::{Issuer, Mount};
use gateway_core::secret::TagKey;

/// Stands in the id of a session whose client opens addresses for its person.
const OPENS_URLS: &str = "~u";

/// Whether the id of the session that is presented says that its client opens addresses for its person.
/// Any client may say so: it is asked then, and nothing else follows.
pub(super) fn says_that_urls_are_opened(headers: &HeaderMap) -> bool {
    let named = text(headers, SESSION).and_then(|presented| presented.rsplit_once('~'));
    named.is_some_and(|(id, _)| id.ends_with(OPENS_URLS))
}

/// Binds session ids to user, client and backend.
#[derive(Debug)]
pub(super) struct Sessions {
    ids: TagKey,
    ids_of_openers: TagKey,
    messages: TagKey,
    own: TagKey,
    waiting: TagKey,
    own_messages: TagKey,
    states: TagKey,
    questions: TagKey,
    tasks: TagKey,
    issuer: Issuer,
}

impl Sessions {
    pub(super) fn new(tags: &TagKey, issuer: &Issuer) -> Self {
        Self {
            ids: tags.derive("mcp-session-id"),
            ids_of_openers: tags.derive("mcp-session-id of a client that opens addresses"),
            messages: tags.derive("legacy message endpoint"),
            own: tags.derive("session id of a translation"),
            waiting: tags.derive("session id of one who has no account yet"),
            own_messages: tags.derive("message endpoint of a translation"),
            states: tags.derive("request state of a translation"),
            questions: tags.derive("question of a backend"),
            tasks: tags.derive("task of a tool"),
            issuer: issuer.clone(),
        }
    }

    /// What the client gets for the backend's `Mcp-Session-Id`. `opens_urls`: it declared that it opens
    /// addresses for its person, and may have to be asked to by the gateway itself.
    pub(super) fn bind(&self, id: &str, holder: Holder<'_>, opens_urls: bool) -> String {
        let (key, mark) = if opens_urls {
            (&self.ids_of_openers, OPENS_URLS)
        } else {
            (&self.ids, "")
        };
        format!("{id}{mark}~{}", tag(key, holder, [id]))
    }

    /// The backend's id in what the client presents; `None` if it was given to somebody else.
    pub(super) fn unbind<'a>(&self, presented: &'a str, holder: Holder<'_>) -> Option<&'a str> {
        let (id, tag) = presented.rsplit_once('~')?;
        if is_tag(&self.ids, tag, holder, [id]) {
            return Some(id);
        }
        let id = id.strip_suffix(OPENS_URLS)?;
        is_tag(&self.ids_of_openers, tag, holder, [id]).then_some(id)
    }

    /// The public URL for the path and query where a legacy session takes its messages.
    pub(super) fn bind_endpoint(&self, target: &str, holder: Holder<'_>) -> String {
        self.endpoint(&self.messages, target, holder)
    }

    fn endpoint(&self, key: &TagKey, target: &str, holder: Holder<'_>) -> String {
        let tag = tag(key, holder, [target]);
        let path = holder.mount.messages_path();
        let encoded = URL_SAFE_NO_PAD.encode(target);
        self.issuer.join(&format!("{path}?session={encoded}~{tag}"))
    }

    /// The backend's path and query in the query of a message's URL.
    pub(super) fn unbind_endpoint(
        &self,
        query: Option<&str>,
        holder: Holder<'_>,
    ) -> Option<String> {
        self.target(&self.messages, query, holder)
    }

    /// What the client gets for a session that the gateway itself keeps for it.
    pub(super) fn bind_own(&self, text: &str, holder: Holder<'_>) -> String {
        format!("{text}~{}", tag(&self.own, holder, [text]))
    }

    /// The text in such an id; `None` if it is none, or another's.
    pub(super) fn unbind_own<'a>(&self, presented: &'a str, holder: Holder<'_>) -> Option<&'a str> {
        let (text, tag) = presented.rsplit_once('~')?;
        is_tag(&self.own, tag, holder, [text]).then_some(text)
    }

    /// What the client gets for a session that was begun before its person had an account at the backend:
    /// it is the person's and the client's, whichever account they connect.
    pub(super) fn bind_waiting(&self, text: &str, holder: Holder<'_>, opens_urls: bool) -> String {
        let mark = if opens_urls { OPENS_URLS } else { "" };
        let tag = tag(&self.waiting, without_account(holder), [text]);
        format!("{text}{mark}~{tag}")
    }

    /// The text in such an id; `None` if it is none, or another's.
    pub(super) fn unbind_waiting<'a>(
        &self,
        presented: &'a str,
        holder: Holder<'_>,
    ) -> Option<&'a str> {
        let (text, tag) = presented.rsplit_once('~')?;
        let text = text.strip_suffix(OPENS_URLS).unwrap_or(text);
        is_tag(&self.waiting, tag, without_account(holder), [text]).then_some(text)
    }

    /// The public URL for the messages of a legacy stream that the gateway itself holds.
    pub(super) fn bind_own_endpoint(&self, name: &str, holder: Holder<'_>) -> String {
        self.endpoint(&self.own_messages, name, holder)
    }

    /// The name of that stream in the query of a message's URL.
    pub(super) fn unbind_own_endpoint(
        &self,
        query: Option<&str>,
        holder: Holder<'_>,
    ) -> Option<String> {
        self.target(&self.own_messages, query, holder)
    }

    /// The id under which a client is asked what the backend asks under `id`, a JSON text.
    pub(super) fn bind_question(&self, id: &str, conversation: &str, holder: Holder<'_>) -> String {
        let tag = tag(&self.questions, holder, [conversation, id]);
        format!("{}~{tag}", URL_SAFE_NO_PAD.encode(id))
    }

    /// The backend's own id in what a client answers; `None` if nobody asked it in this session.
    pub(super) fn unbind_question(
        &self,
        presented: &str,
        conversation: &str,
        holder: Holder<'_>,
    ) -> Option<String> {
        let (encoded, tag) = presented.rsplit_once('~')?;
        let id = decoded(encoded)?;
        is_tag(&self.questions, tag, holder, [conversation, &id]).then_some(id)
    }

    /// What a client gets for a task that a tool began.
    pub(super) fn bind_task(&self, id: &str, tool: &str, holder: Holder<'_>) -> String {
        let tag = tag(&self.tasks, holder, [tool, id]);
        let (id, tool) = (URL_SAFE_NO_PAD.encode(id), URL_SAFE_NO_PAD.encode(tool));
        format!("{id}~{tool}~{tag}")
    }

    /// The backend's own id of a task and the tool that began it; `None` if it is another's.
    pub(super) fn unbind_task(
        &self,
        presented: &str,
        holder: Holder<'_>,
    ) -> Option<(String, String)> {
        let (named, tag) = presented.rsplit_once('~')?;
        let (id, tool) = named.split_once('~')?;
        let (id, tool) = (decoded(id)?, decoded(tool)?);
        is_tag(&self.tasks, tag, holder, [&tool, &id]).then_some((id, tool))
    }

    fn target(&self, key: &TagKey, query: Option<&str>, holder: Holder<'_>) -> Option<String> {
        let mut sessions = query?
            .split('&')
            .filter_map(|pair| pair.strip_prefix("session="));
        let presented = sessions.next()?;
        if sessions.next().is_some() {
            return None;
        }
        let (encoded, tag) = presented.rsplit_once('~').or_else(|| {
            // Some clients encode the tilde, which needs none.
            presented
                .rsplit_once("%7E")
                .or_else(|| presented.rsplit_once("%7e"))
        })?;
        let target = decoded(encoded)?;
        is_tag(key, tag, holder, [&target]).then_some(target)
    }
}

/// Binds what a stateless client brings back of an exchange that was interrupted.
#[derive(Clone, Debug)]
pub(super) struct StateTags {
    key: TagKey,
    claims: Claims,
    mount: Mount,
    account: Option<AccountId>,
}

impl StateTags {
    pub(super) fn new(sessions: &Sessions, holder: Holder<'_>) -> Self {
        Self {
            key: sessions.states.clone(),
            claims: holder.claims.clone(),
            mount: holder.mount.clone(),
            account: holder.account.cloned(),
        }
    }

    /// What the client gets.
    pub(super) fn bind(&self, name: &str) -> String {
        let tag = tag(&self.key, self.holder(), [name]);
        format!("{name}~{tag}")
    }

    /// The name in what it brings back; `None` if it was given to somebody else.
    pub(super) fn unbind(&self, presented: &str) -> Option<String> {
        let (name, tag) = presented.rsplit_once('~')?;
        is_tag(&self.key, tag, self.holder(), [name]).then(|| name.to_owned())
    }

    const fn holder(&self) -> Holder<'_> {
        Holder {
            claims: &self.claims,
            mount: &self.mount,
            account: self.account.as_ref(),
        }
    }
}

const fn without_account(holder: Holder<'_>) -> Holder<'_> {
    Holder {
        account: None,
        ..holder
    }
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// The tag of something that is given to its holder.
fn tag<const N: usize>(key: &TagKey, holder: Holder<'_>, what: [&str; N]) -> String {
    over(holder, what, |parts| key.tag(parts))
}

/// Whether it is that tag.
fn is_tag<const N: usize>(key: &TagKey, tag: &str, holder: Holder<'_>, what: [&str; N]) -> bool {
    over(holder, what, |parts| key.verify(parts, tag))
}

/// What a tag is made over: whose it is, and what.
fn over<const N: usize, T>(
    holder: Holder<'_>,
    what: [&str; N],
    tagged: impl FnOnce(&[&[u8]]) -> T,
) -> T {
    let claims = holder.claims;
    let who = [
        claims.user.as_str(),
        claims.client.as_str(),
        &holder.mount.name,
    ];
    // A list with an account in it is never one without: each part is told with its length.
    let account = holder.account.map(AccountId::as_str);
    let (mut all, mut used) = ([&[][..]; 6], 0);
    for part in who.into_iter().chain(account).chain(what) {
        all[used] = part.as_bytes();
        used += 1;
    }
    tagged(&all[..used])
}

#[cfg(test)]
mod tests;
