//! `backup`: the store as of one moment, a page at a time.

use std::time::Duration;

use super::failure::Failure;
use super::outcome::{Done, Subject};
use super::request::Request;
use crate::backup::held::{HeldBackups, PageError};
use crate::operator_api::{BackupBegun, BackupPage, BackupPageQuery, BeginBackup, ReadBackup};
use gateway_core::clock::{Clock, Timestamp};
use gateway_core::reason::Reason;
use gateway_store::Records;

/// How long a request may take that was begun before the moment of a backup, so that what it gives is in
/// the backup.
const IN_FLIGHT: Duration = Duration::from_secs(1);

/// Takes the snapshot that pages are read from. All that was given before `complete_until`, the next whole
/// second, is in it: it is waited for. So it is in a store that is new until tokens say when they were given.
pub(super) async fn begin(
    records: &Records,
    clock: Clock,
    held: &HeldBackups,
    request: &Request,
) -> Result<Done, Failure> {
    let epoch = records.view().and_then(|view| view.epoch());
    if let Some(epoch) = epoch {
        tokio::time::sleep(epoch.dates_truly_in(request.now)).await;
    }
    let now = clock.now();
    let complete_until = Timestamp::from_secs(now.secs() + 1);
    tokio::time::sleep(complete_until.since(now) + IN_FLIGHT).await;
    let Some(backup) = records.store().backup().await? else {
        let sentence = "the store of this gateway is backed up by its own means";
        return Err(Failure::new(Reason::NotFound, sentence));
    };
    let head = backup.head().clone();
    let answer = BackupBegun {
        backup: held.hold(backup),
        head,
        complete_until,
    };
    Ok(Done::new::<BeginBackup>(&answer, Subject::default()))
}

/// The next rows.
pub(super) async fn page(held: &HeldBackups, request: &Request) -> Result<Done, Failure> {
    let BackupPageQuery { id, page } = request.query::<ReadBackup>()?;
    let number = page
        .parse()
        .map_err(|_| Failure::malformed("page is a number"))?;
    match held.page(&id, number).await {
        Ok(rows) => Ok(Done::read::<ReadBackup>(&BackupPage { rows })),
        Err(PageError::Store(error)) => Err(error.into()),
        Err(PageError::Unknown) => Err(Failure::new(
            Reason::NotFound,
            "this backup was begun too long ago, or another was begun after it: begin again",
        )),
    }
}
