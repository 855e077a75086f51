//! Attaches audit records to answers: an endpoint says with its answer what it did. They are entered
//! before the answer leaves (`audit_log`).
//!
//! Every refusal passes `error_response` or `error_page`, which attach theirs: a new one can't forget
//! it.

use gateway_core::audit::{Event, Outcome, Record};
use gateway_core::grants::UserId;
use gateway_core::protocol::web::Response;
use gateway_core::reason::Reason;
use gateway_metrics::Decision;
use http::StatusCode;

/// The records of one answer.
#[derive(Clone, Debug, Default)]
struct Records(Vec<Record>);

/// Attaches a record to an answer.
pub(super) fn audited(mut response: Response, record: Record) -> Response {
    response
        .extensions_mut()
        .get_or_insert_default::<Records>()
        .0
        .push(record);
    response
}

/// A record of something that this person did, or that was done for them.
pub(super) fn by(user: &UserId, event: Event) -> Record {
    Record {
        user: Some(user.as_str().to_owned()),
        ..Record::new(event)
    }
}

/// What an answer decides: what the last of its records says, else its status.
pub(super) fn decision(response: &Response) -> Decision {
    let records = response.extensions().get::<Records>();
    let refused = records.and_then(|Records(records)| {
        let mut records = records.iter().rev();
        records.find(|record| record.outcome != Outcome::Allowed)
    });
    let status = response.status();
    match refused {
        Some(record) => record.into(),
        None if status == StatusCode::NOT_FOUND => Decision::refused(Some(Reason::NotFound), false),
        None if status.is_server_error() => Decision::refused(None, true),
        None if status.is_client_error() => Decision::refused(None, false),
        None => Decision::ALLOWED,
    }
}

/// Takes the records off an answer.
pub(super) fn take_records(response: &mut Response) -> Vec<Record> {
    let records = response.extensions_mut().remove::<Records>();
    records.map_or_else(Vec::new, |Records(records)| records)
}
