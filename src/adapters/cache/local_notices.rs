//! Word to all listeners within one process. Whoever falls too far behind hears of a gap.

use crate::ports::error::StoreError;
use crate::ports::notices::{Heard, Notice, Notices, Subscription};
use async_trait::async_trait;
use tokio::sync::broadcast::{self, error::RecvError};

/// Notices that a listener may be behind.
const BACKLOG: usize = 1024;

pub struct LocalNotices {
    sender: broadcast::Sender<Notice>,
}

struct LocalSubscription {
    receiver: broadcast::Receiver<Notice>,
    /// Keeps the channel open: without a publisher there is silence, and no end.
    _sender: broadcast::Sender<Notice>,
}

impl LocalNotices {
    pub fn new() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG) }
    }
}

impl Default for LocalNotices {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Notices for LocalNotices {
    async fn publish(&self, notice: &Notice) -> Result<(), StoreError> {
        // That nobody listens is no error.
        let _ = self.sender.send(notice.clone());
        Ok(())
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, StoreError> {
        let receiver = self.sender.subscribe();
        Ok(Box::new(LocalSubscription { receiver, _sender: self.sender.clone() }))
    }
}

#[async_trait]
impl Subscription for LocalSubscription {
    async fn next(&mut self) -> Heard {
        match self.receiver.recv().await {
            Ok(notice) => Heard::Notice(notice),
            Err(RecvError::Lagged(_)) => Heard::Gap,
            // Cannot be: this subscription holds a sender itself.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::DeploymentId;
    use time::OffsetDateTime;

    #[tokio::test]
    async fn a_listener_that_fell_behind_hears_of_the_gap_and_then_the_newest() {
        let notices = LocalNotices::new();
        let mut listener = notices.subscribe().await.unwrap();
        let mut last = None;
        for _ in 0..BACKLOG + 1 {
            let deployment = DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
            let notice = Notice::CancelRequested { deployment };
            notices.publish(&notice).await.unwrap();
            last = Some(Heard::Notice(notice));
        }
        assert_eq!(listener.next().await, Heard::Gap);
        let mut heard = listener.next().await;
        for _ in 0..BACKLOG - 1 {
            heard = listener.next().await;
        }
        assert_eq!(Some(heard), last);
    }
}
