//! An event stream read event by event, comments included, so that a test can see
//! keep-alives and how a stream ended.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::{RequestBuilder, Response};

/// What came on the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SseItem {
    /// An event: its name (`message` when unnamed), its data, its id.
    Event {
        /// The `event` field.
        name: String,
        /// The `data` fields, joined by line feeds.
        data: String,
        /// The `id` field.
        id: Option<String>,
    },
    /// A comment line, without its colon.
    Comment(String),
    /// The response ended; `true` when it was properly terminated.
    End(bool),
}

/// An open stream.
pub struct EventStream {
    response: Response,
    held: Vec<u8>,
    opened: Instant,
}

impl EventStream {
    /// Send the request; an error unless the answer is 200 `text/event-stream`, in these letters:
    /// there are clients that compare them.
    pub async fn open(request: RequestBuilder) -> Result<Self> {
        let request = request
            .header("Accept", "text/event-stream, application/json")
            .timeout(Duration::from_secs(600));
        let response = request.send().await.context("no response")?;
        let kind = response
            .headers()
            .get("content-type")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        if response.status() != 200 || !kind.starts_with("text/event-stream") {
            let status = response.status();
            // It may be a stream of another name, which has no end.
            let text = tokio::time::timeout(Duration::from_secs(2), response.text()).await;
            bail!(
                "status {status} {kind}: {}",
                text.map_or_else(|_| "(without an end)".to_owned(), Result::unwrap_or_default)
            );
        }
        Ok(EventStream {
            response,
            held: Vec::new(),
            opened: Instant::now(),
        })
    }

    /// A header of the response.
    pub fn header(&self, name: &str) -> &str {
        self.response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Since it was opened.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// The next happening, or an error when none comes within `patience`.
    pub async fn next(&mut self, patience: Duration) -> Result<SseItem> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(happening) = self.take()? {
                return Ok(happening);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.response.chunk()).await {
                Err(_) => bail!(
                    "nothing came within {patience:?}; held: {:?}",
                    String::from_utf8_lossy(&self.held)
                ),
                Ok(Ok(Some(piece))) => self.held.extend_from_slice(&piece),
                Ok(Ok(None)) => return Ok(SseItem::End(true)),
                Ok(Err(_)) => return Ok(SseItem::End(false)),
            }
        }
    }

    /// The next event, skipping comments.
    pub async fn event(&mut self, patience: Duration) -> Result<(String, String)> {
        let deadline = Instant::now() + patience;
        loop {
            match self
                .next(deadline.saturating_duration_since(Instant::now()))
                .await?
            {
                SseItem::Event { name, data, .. } => return Ok((name, data)),
                SseItem::Comment(_) => {}
                SseItem::End(clean) => {
                    bail!("the stream ended (properly: {clean}) before an event came")
                }
            }
        }
    }

    /// Wait for the end, skipping everything else; whether it was a proper one.
    pub async fn end(&mut self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            if let SseItem::End(clean) = self
                .next(deadline.saturating_duration_since(Instant::now()))
                .await?
            {
                return Ok(clean);
            }
        }
    }

    /// What the held bytes begin with: a comment line, or an event up to its empty line.
    fn take(&mut self) -> Result<Option<SseItem>> {
        let text = String::from_utf8_lossy(&self.held).replace("\r\n", "\n");
        let text = text.trim_start_matches('\n');
        if let Some(comment) = text.strip_prefix(':') {
            let Some((comment, rest)) = comment.split_once('\n') else {
                return Ok(None);
            };
            self.held = rest.as_bytes().to_vec();
            return Ok(Some(SseItem::Comment(comment.trim().to_owned())));
        }
        let Some((block, rest)) = text.split_once("\n\n") else {
            return Ok(None);
        };
        if block.lines().any(|line| line.starts_with(':')) {
            bail!("a comment inside an event: {block:?}");
        }
        let values = |name: &str| {
            let of = |line: &str| {
                line.strip_prefix(name)?
                    .strip_prefix(':')
                    .map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned())
            };
            block.lines().filter_map(of).collect::<Vec<_>>()
        };
        let event = SseItem::Event {
            name: values("event").pop().unwrap_or_else(|| "message".into()),
            data: values("data").join("\n"),
            id: values("id").pop(),
        };
        self.held = rest.as_bytes().to_vec();
        Ok(Some(event))
    }
}
