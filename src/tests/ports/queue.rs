//! What every queue must do. It may repeat and reorder when something breaks, so that most rules do
//! not mind an announcement too many; here nothing breaks, and what is done stays done.

mod faults;

use crate::support::rabbitmq::TestQueue;
use gv::adapters::queue::amqp::AmqpQueue;
use gv::adapters::queue::local::LocalQueue;
use gv::domain::id::DeploymentId;
use gv::domain::trace::TraceContext;
use gv::ports::queue::{Announcement, Announcements, Queue};
use std::collections::HashSet;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::timeout;

contract!([local, real] [
    what_is_announced_comes_to_a_listener,
    an_announcement_says_as_a_part_of_which_trace,
    announcements_wait_for_a_listener,
    several_listeners_share_the_announcements,
    no_more_than_the_prefetch_is_out_at_one_listener,
    what_is_dropped_unsettled_comes_again,
    what_a_lost_listener_held_comes_to_another,
    what_is_announced_while_it_is_out_comes_again,
    what_is_done_stays_done,
    giving_up_waiting_loses_no_announcement,
    ping_answers,
    a_rehearsal_passes_and_rings_for_nobody,
]);

async fn local() -> (Box<dyn Queue>, ()) {
    (Box::new(LocalQueue::new()), ())
}

/// On RabbitMQ.
async fn real() -> (Box<dyn Queue>, TestQueue) {
    let place = TestQueue::fresh();
    (Box::new(AmqpQueue::connect(&place.url).unwrap()), place)
}

const PATIENCE: Duration = Duration::from_secs(30);
/// Within which nothing more is expected to come.
const A_WHILE: Duration = Duration::from_millis(300);

fn id() -> DeploymentId {
    DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng())
}

async fn next(listener: &mut dyn Announcements) -> Announcement {
    timeout(PATIENCE, listener.next()).await.expect("an announcement comes")
}

/// Settles what comes until this one is among it.
async fn hear(listener: &mut dyn Announcements, id: DeploymentId) -> Announcement {
    loop {
        let announcement = next(listener).await;
        if announcement.deployment == id {
            return announcement;
        }
        announcement.done();
    }
}

async fn what_is_announced_comes_to_a_listener(queue: &dyn Queue) {
    let mut listener = queue.listen(1).await.unwrap();
    for id in [id(), id(), id()] {
        queue.announce(id, None).await.unwrap();
        hear(&mut *listener, id).await.done();
    }
}

async fn an_announcement_says_as_a_part_of_which_trace(queue: &dyn Queue) {
    let mut listener = queue.listen(1).await.unwrap();
    let trace = TraceContext { trace: 0x0af7_6519, span: 0xb7ad, is_sampled: true };
    for trace in [Some(trace), None, Some(TraceContext { is_sampled: false, ..trace })] {
        let id = id();
        queue.announce(id, trace).await.unwrap();
        // Again, it says so again.
        for _ in 0..2 {
            assert_eq!(hear(&mut *listener, id).await.trace, trace);
        }
        hear(&mut *listener, id).await.done();
    }
}

async fn announcements_wait_for_a_listener(queue: &dyn Queue) {
    let mut waiting: HashSet<DeploymentId> = (0..20).map(|_| id()).collect();
    for id in &waiting {
        queue.announce(*id, None).await.unwrap();
    }
    let mut listener = queue.listen(4).await.unwrap();
    while !waiting.is_empty() {
        let announcement = next(&mut *listener).await;
        waiting.remove(&announcement.deployment);
        announcement.done();
    }
}

async fn several_listeners_share_the_announcements(queue: &dyn Queue) {
    let (mut one, mut two) = (queue.listen(1).await.unwrap(), queue.listen(1).await.unwrap());
    let mut left: HashSet<DeploymentId> = [id(), id()].into();
    for id in &left {
        queue.announce(*id, None).await.unwrap();
    }
    // Each can only have one: both must be served.
    let (first, second) = (next(&mut *one).await, next(&mut *two).await);
    for announcement in [first, second] {
        assert!(left.remove(&announcement.deployment));
        announcement.done();
    }
}

async fn no_more_than_the_prefetch_is_out_at_one_listener(queue: &dyn Queue) {
    let mut listener = queue.listen(2).await.unwrap();
    for id in [id(), id(), id()] {
        queue.announce(id, None).await.unwrap();
    }
    let (first, _second) = (next(&mut *listener).await, next(&mut *listener).await);
    assert!(timeout(A_WHILE, listener.next()).await.is_err(), "the third must wait");
    first.done();
    next(&mut *listener).await.done();
}

async fn what_is_dropped_unsettled_comes_again(queue: &dyn Queue) {
    let mut listener = queue.listen(1).await.unwrap();
    let id = id();
    queue.announce(id, None).await.unwrap();
    for _ in 0..2 {
        drop(hear(&mut *listener, id).await);
    }
    hear(&mut *listener, id).await.done();
}

async fn what_a_lost_listener_held_comes_to_another(queue: &dyn Queue) {
    let mut lost = queue.listen(2).await.unwrap();
    let (held, waiting) = (id(), id());
    queue.announce(held, None).await.unwrap();
    let unsettled = hear(&mut *lost, held).await;
    queue.announce(waiting, None).await.unwrap();
    let mut other = queue.listen(2).await.unwrap();
    drop(lost);
    drop(unsettled);
    let mut left: HashSet<DeploymentId> = [held, waiting].into();
    while !left.is_empty() {
        let announcement = next(&mut *other).await;
        left.remove(&announcement.deployment);
        announcement.done();
    }
}

async fn what_is_announced_while_it_is_out_comes_again(queue: &dyn Queue) {
    let mut listener = queue.listen(1).await.unwrap();
    let id = id();
    queue.announce(id, None).await.unwrap();
    let out = hear(&mut *listener, id).await;
    queue.announce(id, None).await.unwrap();
    out.done();
    hear(&mut *listener, id).await.done();
}

async fn what_is_done_stays_done(queue: &dyn Queue) {
    let mut listener = queue.listen(1).await.unwrap();
    queue.announce(id(), None).await.unwrap();
    next(&mut *listener).await.done();
    assert!(timeout(A_WHILE, listener.next()).await.is_err());
}

async fn giving_up_waiting_loses_no_announcement(queue: &dyn Queue) {
    let mut listeners = [queue.listen(1).await.unwrap(), queue.listen(1).await.unwrap()];
    let ids: Vec<DeploymentId> = (0..100).map(|_| id()).collect();
    let announcer = async {
        for id in &ids {
            queue.announce(*id, None).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let impatient = async {
        let mut left: HashSet<DeploymentId> = ids.iter().copied().collect();
        while !left.is_empty() {
            for listener in &mut listeners {
                if let Ok(announcement) = timeout(Duration::from_micros(500), listener.next()).await {
                    left.remove(&announcement.deployment);
                    announcement.done();
                }
            }
        }
    };
    timeout(PATIENCE, futures_util::future::join(announcer, impatient)).await.expect("all come");
}

async fn ping_answers(queue: &dyn Queue) {
    queue.ping().await.unwrap();
}

async fn a_rehearsal_passes_and_rings_for_nobody(queue: &dyn Queue) {
    let before = queue.rehearse().await.unwrap();
    assert!(before.listeners.is_none_or(|count| count == 0), "{before:?}");
    let mut listener = queue.listen(1).await.unwrap();
    let one = id();
    queue.announce(one, None).await.unwrap();
    hear(&mut *listener, one).await.done();
    let waiting = listener.next();
    let rehearsing = async {
        // A worker that waits is seen, where the queue can tell.
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while queue.rehearse().await.unwrap().listeners == Some(0) {
            assert!(tokio::time::Instant::now() < deadline, "nobody is seen to listen");
        }
    };
    tokio::select! {
        announcement = waiting => panic!("it rang for {}", announcement.deployment),
        () = rehearsing => {}
    }
}
