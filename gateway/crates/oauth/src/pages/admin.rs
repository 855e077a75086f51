//! The owner's pages: what all of them have around their content, and the forms that their buttons are.
//! A file a page.

mod apps;
mod audit;
mod backends;
mod frame;
mod overview;
mod people;
mod policy;
mod sparkline;
mod streams;

pub use self::apps::{AppsPage, GrantRow};
pub use self::audit::{AuditFilter, AuditPage, AuditRow, Counts, Period, Series};
pub use self::backends::{BackendCard, BackendsPage, ToolRow};
pub use self::frame::{AdminFrame, Notice, PressForm, Section};
pub use self::overview::{OverviewPage, State};
pub use self::people::{LoginWay, PeoplePage, PersonRow};
pub use self::policy::{Explanation, PolicyPage, Question};
pub use self::streams::{StreamRow, StreamsPage};
