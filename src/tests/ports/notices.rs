//! What every way of giving notice must do. A subscription may take a moment to begin, so each
//! rule first publishes until it is heard.

use crate::support::redis::{RedisServer, connected};
use gv::adapters::cache::local_notices::LocalNotices;
use gv::domain::host::{HostKind, Hostname, Pointer};
use gv::domain::id::DeploymentId;
use gv::ports::notices::{Heard, Notice, Notices, Subscription};
use std::collections::HashSet;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::timeout;

contract!([local, redis] [
    every_listener_hears_every_notice,
    a_notice_that_nobody_hears_is_no_error,
    giving_up_waiting_loses_no_notice,
    a_listener_hears_on_when_another_is_gone,
]);

async fn local() -> (Box<dyn Notices>, ()) {
    (Box::new(LocalNotices::new()), ())
}

async fn redis() -> (Box<dyn Notices>, Option<RedisServer>) {
    let (redis, server) = connected().await;
    (Box::new(redis.notices()), server)
}

const PATIENCE: Duration = Duration::from_secs(30);

fn cancel() -> (DeploymentId, Notice) {
    let deployment = DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng());
    (deployment, Notice::CancelRequested { deployment })
}

/// A subscription that has begun for certain.
async fn listening(notices: &dyn Notices) -> Box<dyn Subscription> {
    let mut listener = notices.subscribe().await.unwrap();
    let (_, sign) = cancel();
    let begun = async {
        loop {
            notices.publish(&sign).await.unwrap();
            let heard = timeout(Duration::from_millis(50), listener.next()).await;
            if heard.is_ok_and(|heard| heard == Heard::Notice(sign.clone())) {
                break;
            }
        }
    };
    timeout(PATIENCE, begun).await.expect("a subscription begins");
    listener
}

/// Waits for this notice, past whatever other rules and beginnings have published.
async fn hear(listener: &mut dyn Subscription, notice: &Notice) {
    let heard = async { while listener.next().await != Heard::Notice(notice.clone()) {} };
    timeout(PATIENCE, heard).await.expect("the notice is heard");
}

async fn every_listener_hears_every_notice(notices: &dyn Notices) {
    let (mut first, mut second) = (listening(notices).await, listening(notices).await);
    let (deployment, canceled) = cancel();
    let pointer = Pointer {
        version: 7,
        host: Hostname::parse(&format!("{}.test", deployment.body())).unwrap(),
        kind: HostKind::Branch,
        target: None,
        earlier: Vec::new(),
        trace: None,
        published_at: None,
    };
    for notice in [canceled, Notice::HostMoved { pointer }] {
        notices.publish(&notice).await.unwrap();
        hear(&mut *first, &notice).await;
        hear(&mut *second, &notice).await;
    }
}

async fn a_notice_that_nobody_hears_is_no_error(notices: &dyn Notices) {
    notices.publish(&cancel().1).await.unwrap();
}

async fn giving_up_waiting_loses_no_notice(notices: &dyn Notices) {
    let mut listener = listening(notices).await;
    let (mut expected, published): (HashSet<DeploymentId>, Vec<Notice>) = (0..100).map(|_| cancel()).unzip();
    let publisher = async {
        for notice in &published {
            notices.publish(notice).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let impatient = async {
        while !expected.is_empty() {
            let heard = timeout(Duration::from_micros(500), listener.next()).await;
            if let Ok(Heard::Notice(Notice::CancelRequested { deployment })) = heard {
                expected.remove(&deployment);
            }
        }
    };
    timeout(PATIENCE, futures_util::future::join(publisher, impatient)).await.expect("all are heard");
}

async fn a_listener_hears_on_when_another_is_gone(notices: &dyn Notices) {
    let (mut stays, leaves) = (listening(notices).await, listening(notices).await);
    drop(leaves);
    let (_, notice) = cancel();
    notices.publish(&notice).await.unwrap();
    hear(&mut *stays, &notice).await;
}
