//! One timer for all deadlines of a connection. It is moved only when it fires too early or a deadline
//! comes before it, which is seldom: an exchange costs no change of the runtime's wheel.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Deadlines of silent streams are put on a grid of this, so that those of many fire together.
const GRID: Duration = Duration::from_millis(250);

/// The timer of one task.
pub(crate) struct Timer<'a>(Pin<&'a mut Sleep>);

impl<'a> Timer<'a> {
    pub(crate) const fn new(sleep: Pin<&'a mut Sleep>) -> Self {
        Self(sleep)
    }

    /// Ready once `deadline` has passed.
    pub(crate) fn poll_passed(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        if self.0.deadline() > deadline {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(deadline);
        }
        while self.0.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// The next point of the grid that began at `start`, `silence` or a little more from now.
pub(crate) fn on_grid(start: Instant, silence: Duration) -> Instant {
    let since = Instant::now() + silence - start;
    let grid = GRID.as_millis();
    let steps = since.as_millis().div_ceil(grid);
    start + Duration::from_millis(u64::try_from(steps * grid).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_passes_when_it_should_whatever_was_waited_for_before() {
        let sleep = tokio::time::sleep(Duration::from_secs(60));
        tokio::pin!(sleep);
        let mut timer = Timer::new(sleep);
        for wait in [40, 10, 30] {
            let deadline = Instant::now() + Duration::from_millis(wait);
            std::future::poll_fn(|context| timer.poll_passed(deadline, context)).await;
            let late = Instant::now() - deadline;
            assert!(Instant::now() >= deadline && late < Duration::from_secs(2));
        }
    }

    #[tokio::test]
    async fn deadlines_of_many_streams_fall_on_one_grid() {
        let start = Instant::now() - Duration::from_millis(130);
        let point = on_grid(start, Duration::from_secs(1));
        assert!(point >= Instant::now() + Duration::from_millis(900));
        assert_eq!((point - start).as_millis() % GRID.as_millis(), 0);
        assert!(point - start <= Duration::from_millis(1500));
    }
}
