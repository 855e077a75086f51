//! Looking up names: the system's resolver, and in tests one that answers what an attacker's would.

use std::io;
use std::net::SocketAddr;
#[cfg(test)]
use std::{collections::VecDeque, sync::Arc};

/// Where addresses come from.
#[derive(Clone)]
pub(super) enum Names {
    /// The system.
    System,
    /// Answers in order, and how many were asked for.
    #[cfg(test)]
    Scripted(Arc<parking_lot::Mutex<(VecDeque<Vec<SocketAddr>>, usize)>>),
}

impl Names {
    /// All addresses of a name.
    pub(super) async fn look_up(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => {
                let addresses = tokio::net::lookup_host((name, port)).await?;
                Ok(addresses.collect())
            }

            #[cfg(test)]
            Self::Scripted(script) => {
                let mut script = script.lock();
                script.1 += 1;
                let answer = script.0.pop_front();
                answer.ok_or_else(|| io::Error::other("no such name"))
            }
        }
    }

    #[cfg(test)]
    pub(super) fn answering(answers: impl IntoIterator<Item = Vec<SocketAddr>>) -> Self {
        let answers = answers.into_iter().collect();
        Self::Scripted(Arc::new(parking_lot::Mutex::new((answers, 0))))
    }

    #[cfg(test)]
    pub(super) fn asked(&self) -> usize {
        match self {
            Self::System => 0,
            Self::Scripted(script) => script.lock().1,
        }
    }
}
