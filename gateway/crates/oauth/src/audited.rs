//! Attaches audit records to answers: an endpoint says with its answer what it did. They are entered
//! before the answer leaves (`audit_log`).
//!
//! Every refusal passes `error_response` or `error_page`, which attach theirs: a new one can't forget
//! it.

use gateway_core::audit::Record;
use gateway_core::protocol::web::Response;

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

/// Takes the records off an answer.
pub(super) fn take_records(response: &mut Response) -> Vec<Record> {
    let records = response.extensions_mut().remove::<Records>();
    records.map_or_else(Vec::new, |Records(records)| records)
}
