//! What several backends offer together: the lists of each, under its name, put together from what is known
//! of each. Nothing of it is remembered besides.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::backend::{Aggregate, Backend};
use super::catalogue::Catalogue;
use super::catalogue_error::CatalogueError;
use super::tool::{MemberTool, Missing, ToolListing};

/// What each member answered, in order.
type Answers = Vec<Result<Arc<ToolListing>, CatalogueError>>;

impl Catalogue {
    /// What is said of the backends that are offered together as `name`; nothing for one backend.
    pub fn aggregate(&self, name: &str) -> Option<&Arc<Aggregate>> {
        self.backend(name).ok()?.aggregate.as_ref()
    }

    /// Their names, in order; none for one backend.
    pub fn members(&self, name: &str) -> &[String] {
        self.backend(name).map_or(&[], |backend| backend.members())
    }

    /// The backend that runs a tool of `name`, and what that calls it: itself, or one of its members.
    pub(super) fn at_member<'a>(
        &'a self,
        name: &'a str,
        tool: &'a str,
    ) -> Option<(&'a str, &'a str)> {
        let Some(aggregate) = self.aggregate(name) else {
            return Some((name, tool));
        };
        let (member, own) = aggregate.members.find(tool)?;
        Some((aggregate.members.names()[member].as_str(), own))
    }

    /// Whether all of several backends are called with everybody's own account.
    pub(super) fn asks_who_calls(&self, backend: &Backend) -> bool {
        let members = backend.members();
        let wants = |name: &String| self.backend(name).is_ok_and(|one| one.wants_account());
        !members.is_empty() && members.iter().all(wants)
    }

    /// What they offer, at most so old. Whoever has not answered in time is left out.
    pub(super) async fn aggregate_within(
        &self,
        name: &str,
        aggregate: &Aggregate,
        user: Option<&str>,
        age: Duration,
        patience: Duration,
    ) -> Result<Arc<ToolListing>, CatalogueError> {
        let names = aggregate.members.names().iter();
        let asked = names.map(|member| async move {
            let backend = self.backend(member)?;
            self.one_within(backend, user, age, patience).await
        });
        together(name, aggregate, join_all(asked).await)
    }

    /// The same for a page that is asked for again: `None` while somebody may still answer in time.
    pub(super) async fn aggregate_for_page(
        &self,
        name: &str,
        aggregate: &Aggregate,
        user: Option<&str>,
    ) -> Result<Option<Arc<ToolListing>>, CatalogueError> {
        let names = aggregate.members.names().iter();
        let asked = names.map(|member| async move {
            let backend = self.backend(member)?;
            self.one_for_page(backend, user).await
        });
        let mut answers = Answers::new();
        let answered = join_all(asked).await;
        for (answer, member) in answered.into_iter().zip(aggregate.members.names()) {
            answers.push(match answer {
                Ok(Some(listing)) => Ok(listing),
                Err(error) => Err(error),
                Ok(None) => {
                    let asked_for = self.asked_for(member, user).unwrap_or_default();
                    if asked_for < aggregate.list_timeout {
                        return Ok(None);
                    }
                    Err(CatalogueError::TooSlow(asked_for))
                }
            });
        }
        together(name, aggregate, answers).map(Some)
    }
}

/// The tools of all that answered, each under its member's name. An error if nobody did.
fn together(
    name: &str,
    aggregate: &Aggregate,
    answers: Answers,
) -> Result<Arc<ToolListing>, CatalogueError> {
    let mut all = ToolListing {
        name: name.to_owned(),
        ..ToolListing::default()
    };
    let mut has_answer = false;
    for (at, answer) in answers.into_iter().enumerate() {
        let member = &aggregate.members.names()[at];
        let listing = match answer {
            Ok(listing) => listing,
            Err(why) => {
                all.missing.push(Missing {
                    member: member.clone(),
                    start: aggregate.members.shown(at, ""),
                    why,
                });
                continue;
            }
        };
        has_answer = true;
        for tool in &listing.tools {
            let Some(name) = aggregate.members.shown_if_fits(at, &tool.name) else {
                continue;
            };
            let mut shown = tool.clone();
            shown.shown.name = name;
            shown.of = Some(MemberTool {
                member: member.clone(),
                name: tool.name.clone(),
            });
            all.tools.push(shown);
        }
        let doubled = listing.doubled.iter();
        all.doubled
            .extend(doubled.map(|name| aggregate.members.shown(at, name)));
        all.unfit.extend(listing.unfit.iter().cloned());
    }
    match all.missing.first() {
        Some(missing) if !has_answer => Err(missing.why.clone()),
        _ => Ok(Arc::new(all)),
    }
}
