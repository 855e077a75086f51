//! `/admin/streams`.

use super::{Desk, PageResult};
use crate::admin::failure::Failure;
use crate::operator_api::{CloseStreams, ListStreams, StreamsQuery, StreamsToClose};
use gateway_oauth::owner::OwnerPress;
use gateway_oauth::pages::admin::{Notice, StreamRow, StreamsPage};

impl Desk<'_> {
    pub(super) async fn streams(&self, notice: Option<Notice>) -> PageResult {
        let query = StreamsQuery {
            user: None,
            client: None,
            grant: None,
            page: self.part(),
        };
        let page = self.operator().read::<ListStreams>(&query).await?;
        let streams = page.streams.iter().map(|stream| {
            let number = stream.stream.to_string();
            let about = format!("stream {number} of {}", stream.user_name);
            StreamRow {
                number: stream.stream,
                backend: stream.backend.clone(),
                user_name: stream.user_name.clone(),
                client: stream.client.clone(),
                since: stream.since.clone(),
                close: self.button("close", &number, "Close", &about, true),
            }
        });
        Ok(StreamsPage {
            frame: self.visit.frame(),
            admin: self.frame(notice),
            streams: streams.collect(),
            next: self.next(page.next, &[]),
        }
        .page())
    }

    pub(super) async fn press_stream(&self, press: &OwnerPress) -> Result<String, Failure> {
        let number = press.subject.parse();
        let (Ok(number), "close") = (number, press.action.as_str()) else {
            return Err(self.no_button());
        };
        let what = StreamsToClose::Stream(number);
        self.operator().change::<CloseStreams>(&what).await?;
        Ok(format!("Stream {number} is being closed."))
    }
}
