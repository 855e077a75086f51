//! Whose a resource is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_protocol::members::{Listed, Page, Uris};
use mcp_protocol::{Message, Object};

use super::Asked;
use crate::wholes::KnownUris;

/// How long it is believed whose resources are whose.
const BELIEVED: Duration = Duration::from_secs(30);

/// For so long it is believed that nobody lists a resource.
const JUST_NOW: Duration = Duration::from_secs(2);

/// So many pages of each list are looked through.
const MOST_PAGES: usize = 20;

/// The lists that say whose a resource is.
const LISTS: [Listed; 3] = [Listed::Resources, Listed::Templates, Listed::Tools];

impl Asked {
    /// The member whose resource this is, as far as their lists say.
    pub(super) async fn member_of(self: &Arc<Self>, uri: &str) -> Option<usize> {
        if self.members().names().len() == 1 {
            return Some(0);
        }
        let grant = self.caller.token.claims().grant.as_str().to_owned();
        let key = (grant, self.name().to_owned());
        let known = &self.service.state.wholes.uris;
        if let Some(known) = known.get(&key) {
            let (age, member) = (known.at.elapsed(), known.uris.find(uri));
            if age < JUST_NOW || age < BELIEVED && member.is_some() {
                return member;
            }
        }
        let uris = self.look().await;
        let member = uris.find(uri);
        let at = Instant::now();
        known.insert(key, Arc::new(KnownUris { at, uris }));
        member
    }

    /// What the members list, in this person's name.
    async fn look(self: &Arc<Self>) -> Uris {
        let mut uris = Uris::default();
        for listed in LISTS {
            let (pages, _) = self.every_page(listed).await;
            for page in &pages {
                uris.add(listed, page);
            }
        }
        uris
    }

    /// All pages of a list, of all members; and whether all answered that may be asked.
    pub(super) async fn every_page(self: &Arc<Self>, listed: Listed) -> (Vec<Page>, bool) {
        let all = 0..self.members().names().len();
        let mut requests: Vec<(usize, Message)> = all
            .map(|member| (member, self.question(listed, None)))
            .collect();
        let (mut pages, mut is_complete) = (Vec::new(), true);
        for _ in 0..MOST_PAGES {
            let (answered, has_all) = self.pages(std::mem::take(&mut requests)).await;
            is_complete &= has_all;
            for page in &answered {
                if let Some(cursor) = page.result.text("nextCursor") {
                    let question = self.question(listed, Some(&cursor));
                    requests.push((page.member, question));
                }
            }
            pages.extend(answered);
            if requests.is_empty() {
                break;
            }
        }
        pages.sort_by_key(|page| page.member);
        (pages, is_complete)
    }

    /// A request for a list, with what the client's own says of it.
    fn question(&self, listed: Listed, cursor: Option<&str>) -> Message {
        let mut params = Object::new();
        if let Some(meta) = self.message.params().raw("_meta") {
            params.set("_meta", meta);
        }
        if let Some(cursor) = cursor {
            params.set("cursor", cursor);
        }
        Message::request(&self.id, listed.method(), &params)
    }
}
