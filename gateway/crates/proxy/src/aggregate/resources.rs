//! Whose a resource is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mcp_protocol::members::{Listed, Page, Uris, Whose};
use mcp_protocol::{Message, Object};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::lists::{AWAY, Answers, Given};
use super::{Asked, Unanswered};
use crate::aggregates::{KnownUris, Look, Looked};

/// How long it is believed whose resources are whose.
const BELIEVED: Duration = Duration::from_secs(30);

/// For so long it is believed that nobody lists a resource, or that nobody can say whose it is.
const JUST_NOW: Duration = Duration::from_secs(2);

/// So many pages of each list are looked through.
const MOST_PAGES: usize = 20;

/// With so many bytes of one member's list no more of it is looked through.
const MOST_BYTES: usize = 8 << 20;

/// Whether it still counts what was known of some resources so long ago.
fn is_believed(age: Duration, found: &[Whose]) -> bool {
    let is_said =
        |whose: &Whose| matches!(whose, Whose::One(_) | Whose::Several | Whose::Undecidable);
    age < JUST_NOW || age < BELIEVED && found.iter().all(is_said)
}

/// How far a list of a member was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// To its end; or the member has no such list, or none for this token.
    All,
    /// As far as lists are looked through.
    Most,
    /// Not to its end: the member has no answer now.
    Part,
}

impl Asked {
    /// The member whose resource this is, as far as their lists say.
    pub(super) async fn whose(self: &Arc<Self>, uri: &str) -> Whose {
        let found = self.whose_each(&[uri]).await;
        found.first().copied().unwrap_or(Whose::Unknown)
    }

    /// The same for each of several: the members are looked at once for all of them, and no longer than it
    /// takes to say it of these.
    pub(super) async fn whose_each(self: &Arc<Self>, uris: &[&str]) -> Vec<Whose> {
        let count = self.members().names().len();
        if count == 1 {
            return vec![Whose::One(0); uris.len()];
        }
        let find =
            |known: &Uris| -> Vec<Whose> { uris.iter().map(|uri| known.find(uri)).collect() };
        let find_in_known = |known: &Uris| -> Vec<Whose> {
            uris.iter().map(|uri| known.find_in_known(uri)).collect()
        };
        // Tokens of one grant may be narrowed, and see other lists.
        let token = self.caller.token.last_id().to_owned();
        let key = (token, self.name().to_owned());
        let aggregates = &self.service.state.aggregates;
        // What all said says more than what some said since.
        for is_complete in [true, false] {
            if let Some(known) = aggregates.uris.get(&(key.clone(), is_complete))
                && is_believed(known.at.elapsed(), &find(&known.uris))
            {
                return find_in_known(&known.uris);
            }
        }
        // Once for all that ask now.
        let grant = self.caller.token.claims().grant.as_str();
        let Some((mut looked, look)) = aggregates.look(&key, grant, count) else {
            return vec![Whose::Unsure; uris.len()];
        };
        if let Some(look) = look {
            tokio::spawn(Arc::clone(self).look(key, look));
        }
        let is_said =
            |looked: &Looked| looked.is_over() || !find(looked.uris()).contains(&Whose::Unsure);
        let found = looked.wait_for(is_said).await.map(|looked| {
            if looked.is_over() {
                find_in_known(looked.uris())
            } else {
                find(looked.uris())
            }
        });
        found.unwrap_or_else(|_| vec![Whose::Unsure; uris.len()])
    }

    /// Looks at what the members list, in this person's name, as far as they say it in time. Whoever knows
    /// enough does not wait for the rest; that is for those who come next.
    async fn look(self: Arc<Self>, key: (String, String), look: Arc<Look>) {
        let longest = self.aggregate.list_timeout + AWAY;
        let mut reading = JoinSet::new();
        for member in 0..self.members().names().len() {
            for listed in Uris::LISTS {
                let (asked, look) = (Arc::clone(&self), Arc::clone(&look));
                reading.spawn(async move {
                    let found = |change: &dyn Fn(&mut Uris)| {
                        look.send_modify(|looked| {
                            if let Looked::SoFar(uris) = looked {
                                change(uris);
                            }
                        });
                    };
                    // A page is read and let go, with what is held for it: whoever asked may wait for days.
                    let take = |given: Given| found(&|uris| uris.add(listed, &given.page));
                    match timeout(longest, asked.read(member, listed, take)).await {
                        Ok((_, Read::All)) => found(&|uris| uris.ends(listed, member)),
                        Ok((_, Read::Most)) => found(&|uris| uris.is_cut(listed, member)),
                        Ok((_, Read::Part)) | Err(_) => {}
                    }
                });
            }
        }
        while reading.join_next().await.is_some() {}
        look.send_modify(|looked| {
            if let Looked::SoFar(uris) = looked {
                let (at, uris) = (Instant::now(), std::mem::take(&mut **uris));
                let is_complete = uris.is_complete();
                let known = Arc::new(KnownUris { at, uris });
                let aggregates = &self.service.state.aggregates;
                aggregates
                    .uris
                    .insert((key, is_complete), Arc::clone(&known));
                *looked = Looked::All(known);
            }
        });
    }

    /// All pages of a list, of all members; and whether all answered that may be asked.
    pub(super) async fn every_page(
        self: &Arc<Self>,
        listed: Listed,
    ) -> Result<(Vec<Page>, bool), Unanswered> {
        let all = Mutex::new(Vec::new());
        let is_complete = self
            .each_page(listed, |given| all.lock().push(given))
            .await?;
        let mut pages = self.kept(all.into_inner());
        pages.sort_by_key(|page| page.member);
        Ok((pages, is_complete))
    }

    /// Takes the pages of a list as they come; whether all members answered that may be asked. What one of
    /// them lists beyond the most that is looked through is left out: of tools that is no complete answer.
    async fn each_page(
        self: &Arc<Self>,
        listed: Listed,
        take: impl Fn(Given),
    ) -> Result<bool, Unanswered> {
        let members = 0..self.members().names().len();
        let each = join_all(members.map(|member| self.read(member, listed, &take))).await;
        let is_read = |read| match read {
            Read::All => true,
            Read::Most => listed != Listed::Tools,
            Read::Part => false,
        };
        let is_complete = each.iter().all(|(_, read)| is_read(*read));
        let first = each.into_iter().map(|(first, _)| first);
        first
            .fold(Answers::of_nobody(), Answers::with)
            .of_somebody()?;
        Ok(is_complete)
    }

    /// Takes the pages of one member's list as they come; what it answered at first, and how far its list
    /// was read.
    async fn read(
        self: &Arc<Self>,
        member: usize,
        listed: Listed,
        take: impl Fn(Given),
    ) -> (Answers, Read) {
        let (mut first, mut bytes) = (None, 0);
        let mut question = self.question(listed, None);
        for at in 0..MOST_PAGES {
            let mut answers = self.pages(vec![(member, question)]).await;
            let given = answers.given.pop();
            let is_answered = answers.is_complete && (at == 0 || given.is_some());
            let first = first.get_or_insert(answers);
            if !is_answered {
                return (std::mem::take(first), Read::Part);
            }
            let Some(given) = given else {
                return (std::mem::take(first), Read::All);
            };
            bytes += given.bytes;
            let cursor = given.page.result.text("nextCursor");
            take(given);
            let Some(cursor) = cursor else {
                return (std::mem::take(first), Read::All);
            };
            if bytes >= MOST_BYTES {
                break;
            }
            question = self.question(listed, Some(&cursor));
        }
        (first.unwrap_or_default(), Read::Most)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_believed_and_what_was_not_for_a_moment() {
        let (now, later) = (Duration::from_secs(1), Duration::from_secs(10));
        let found = Whose::One(1);
        for (age, whose, expected) in [
            (now, found, true),
            (now, Whose::Unsure, true),
            (now, Whose::Unknown, true),
            (later, found, true),
            (later, Whose::Several, true),
            (later, Whose::Undecidable, true),
            (later, Whose::Unknown, false),
            (later, Whose::Unsure, false),
            (BELIEVED, found, false),
        ] {
            let is = is_believed(age, &[found, whose]);
            assert_eq!(is, expected, "{age:?} {whose:?}");
        }
    }
}
