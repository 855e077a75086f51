//! Whose a resource is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcp_protocol::members::{Listed, Page, Uris, Whose};
use mcp_protocol::{Message, Object};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::lists::AWAY;
use super::{Asked, Unanswered};
use crate::wholes::KnownUris;

/// How long it is believed whose resources are whose.
const BELIEVED: Duration = Duration::from_secs(30);

/// For so long it is believed that nobody lists a resource.
const JUST_NOW: Duration = Duration::from_secs(2);

/// So many pages of each list are looked through.
const MOST_PAGES: usize = 20;

/// With so many bytes of one member's list no more of it is looked through.
const MOST_BYTES: usize = 8 << 20;

impl Asked {
    /// The member whose resource this is, as far as their lists say.
    pub(super) async fn whose(self: &Arc<Self>, uri: &str) -> Whose {
        if self.members().names().len() == 1 {
            return Whose::One(0);
        }
        // Tokens of one grant may be narrowed, and see other lists.
        let token = self.caller.token.last_id().to_owned();
        let key = (token, self.name().to_owned());
        let wholes = &self.service.state.wholes;
        if let Some(known) = wholes.uris.get(&key) {
            let (age, whose) = (known.at.elapsed(), known.uris.find(uri));
            if age < JUST_NOW || age < BELIEVED && whose != Whose::Unknown {
                return whose;
            }
        }
        // Once for all that ask now.
        let look = wholes.look(&key);
        let (known, is_complete) = look.get_or_init(|| self.look()).await;
        if *is_complete {
            wholes.uris.insert(key, Arc::clone(known));
        }
        known.uris.find(uri)
    }

    /// What the members list, in this person's name, as far as they say it in time; and whether all did.
    async fn look(self: &Arc<Self>) -> (Arc<KnownUris>, bool) {
        let at = Instant::now();
        let uris = Mutex::new(Uris::default());
        let looking = async |listed: Listed| {
            let add = |page: Page| uris.lock().add(listed, &page);
            matches!(self.each_page(listed, add).await, Ok(true))
        };
        let all = async {
            tokio::join!(
                looking(Listed::Resources),
                looking(Listed::Templates),
                looking(Listed::Tools)
            )
        };
        let longest = self.whole.list_timeout + AWAY;
        let is_complete = matches!(timeout(longest, all).await, Ok((true, true, true)));
        let uris = uris.into_inner();
        (Arc::new(KnownUris { at, uris }), is_complete)
    }

    /// All pages of a list, of all members; and whether all answered that may be asked.
    pub(super) async fn every_page(
        self: &Arc<Self>,
        listed: Listed,
    ) -> Result<(Vec<Page>, bool), Unanswered> {
        let pages = Mutex::new(Vec::new());
        let is_complete = self
            .each_page(listed, |page| pages.lock().push(page))
            .await?;
        let mut pages = pages.into_inner();
        pages.sort_by_key(|page| page.member);
        Ok((pages, is_complete))
    }

    /// Takes the pages of a list as they come; whether all members answered that may be asked. What one of
    /// them lists beyond the most that is looked through is left out.
    async fn each_page(
        self: &Arc<Self>,
        listed: Listed,
        take: impl Fn(Page),
    ) -> Result<bool, Unanswered> {
        let count = self.members().names().len();
        let mut read = vec![0; count];
        let first = (0..count).map(|member| (member, self.question(listed, None)));
        let mut requests: Vec<(usize, Message)> = first.collect();
        let mut is_complete = true;
        for at in 0..MOST_PAGES {
            let mut answers = self.pages(std::mem::take(&mut requests)).await;
            if at == 0 {
                answers = answers.of_somebody()?;
            }
            is_complete &= answers.is_complete;
            for (page, bytes) in answers.pages {
                read[page.member] += bytes;
                let cursor = page.result.text("nextCursor");
                if let Some(cursor) = cursor.filter(|_| read[page.member] < MOST_BYTES) {
                    let question = self.question(listed, Some(&cursor));
                    requests.push((page.member, question));
                }
                take(page);
            }
            if requests.is_empty() {
                break;
            }
        }
        Ok(is_complete)
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
