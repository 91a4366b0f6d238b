//! What the queue on RabbitMQ must do beyond the contract: with a broker that goes wrong, and with
//! what others do in it.

use super::{PATIENCE, hear, id, next};
use crate::support::fault_proxy::{FaultProxy, Mode};
use crate::support::rabbitmq::TestQueue;
use futures_util::future::join_all;
use gv::adapters::queue::amqp::AmqpQueue;
use gv::domain::id::DeploymentId;
use gv::ports::error::{StoreError, StoreErrorKind};
use gv::ports::queue::Queue;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// What a caller waits for a bell, and what a slow machine may add.
const PROMPT: Duration = Duration::from_secs(3);
/// Two heartbeats of 10 s, an attempt to connect, and what a slow machine may add.
const NOTICED: Duration = Duration::from_secs(60);

fn connect(place: &TestQueue) -> AmqpQueue {
    AmqpQueue::connect(&place.url).unwrap()
}

fn by_way_of_a_proxy(mode: Mode) -> (AmqpQueue, FaultProxy, TestQueue) {
    let place = TestQueue::fresh();
    let proxy = FaultProxy::start(place.broker());
    proxy.set(mode);
    (AmqpQueue::connect(&place.url_by_way_of(proxy.address())).unwrap(), proxy, place)
}

/// Announces until it is confirmed.
async fn announce(queue: &AmqpQueue, id: DeploymentId) {
    let announcing = async {
        while queue.announce(id, None).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, announcing).await.expect("it is confirmed");
}

/// Calls until it fails as it should.
async fn until_it_fails(queue: &AmqpQueue, how: &str, limit: Duration) -> StoreError {
    let mut said = "nothing".to_owned();
    let asking = async {
        loop {
            match timeout(PROMPT, queue.ping()).await.expect("an answer in time") {
                Err(error) if error.to_string().contains(how) => return error,
                Err(error) => said = error.to_string(),
                Ok(()) => {}
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(limit, asking).await.unwrap_or_else(|_| panic!("it never said {how}, but {said}"))
}

async fn until_waiting(place: &TestQueue, queue: &str, count: u32) {
    let hand = place.hand().await;
    let looking = async {
        while hand.waiting(queue).await != count {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never {count} in {queue}"));
}

#[tokio::test]
async fn announcements_at_the_same_time_are_each_confirmed() {
    let place = TestQueue::fresh();
    let queue = connect(&place);
    queue.ping().await.unwrap();
    let mut left: HashSet<DeploymentId> = (0..200).map(|_| id()).collect();
    join_all(left.iter().map(|id| announce(&queue, *id))).await;
    let mut listener = queue.listen(10).await.unwrap();
    while !left.is_empty() {
        let announcement = next(&mut *listener).await;
        left.remove(&announcement.deployment);
        announcement.done();
    }
}

#[tokio::test]
async fn what_is_no_announcement_is_set_aside_and_others_go_on() {
    let place = TestQueue::fresh();
    let queue = connect(&place);
    queue.ping().await.unwrap();
    let strange: [&[u8]; 5] = [b"hello", b"", b"\xff\xfe", b"prj_01234567890123456789", &[b'x'; 100_000]];
    let hand = place.hand().await;
    for body in strange {
        hand.publish(&place.name, body).await;
    }
    let id = id();
    announce(&queue, id).await;
    let mut listener = queue.listen(1).await.unwrap();
    hear(&mut *listener, id).await.done();
    until_waiting(&place, &place.dead_letters(), 5).await;
    let mut bodies = HashSet::new();
    while let Some((_, body)) = hand.get(&place.dead_letters()).await {
        bodies.insert(body);
    }
    assert_eq!(bodies, strange.map(<[u8]>::to_vec).into());
}

#[tokio::test]
async fn what_finds_its_queue_deleted_is_announced_into_a_new_one() {
    let place = TestQueue::fresh();
    let queue = connect(&place);
    announce(&queue, id()).await;
    let hand = place.hand().await;
    hand.delete(&place.name).await;
    let together = [id(), id(), id()];
    join_all(together.iter().map(|id| announce(&queue, *id))).await;
    // Each was confirmed, and none of them while nobody had it.
    assert_eq!(hand.waiting(&place.name).await, 3);
}

#[tokio::test]
async fn a_deleted_queue_is_declared_again_and_listening_goes_on() {
    let place = TestQueue::fresh();
    let queue = connect(&place);
    let mut listener = queue.listen(2).await.unwrap();
    for _ in 0..2 {
        let id = id();
        announce(&queue, id).await;
        hear(&mut *listener, id).await.done();
        place.hand().await.delete(&place.name).await;
    }
    // Also where nobody has declared it for the listener.
    let again = connect(&place);
    timeout(PATIENCE, async { while again.ping().await.is_err() {} }).await.expect("it is there");
    let id = id();
    announce(&queue, id).await;
    hear(&mut *listener, id).await.done();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_confirmed_is_lost_when_connections_are_cut() {
    let (queue, proxy, _place) = by_way_of_a_proxy(Mode::Pass);
    let mut listener = queue.listen(3).await.unwrap();
    let announcer = async {
        let mut confirmed = HashSet::new();
        for round in 0..100 {
            let id = id();
            if queue.announce(id, None).await.is_ok() {
                confirmed.insert(id);
            }
            if round % 25 == 10 {
                proxy.cut();
            }
            sleep(Duration::from_millis(10)).await;
        }
        announce(&queue, id()).await;
        confirmed
    };
    let listening = async {
        let mut heard = HashSet::new();
        loop {
            match timeout(Duration::from_secs(8), listener.next()).await {
                Ok(announcement) => {
                    heard.insert(announcement.deployment);
                    announcement.done();
                }
                Err(_) => return heard,
            }
        }
    };
    let (confirmed, heard) = futures_util::future::join(announcer, listening).await;
    assert!(confirmed.len() > 10, "hardly any was confirmed");
    assert!(confirmed.is_subset(&heard), "lost: {:?}", confirmed.difference(&heard));
}

#[tokio::test]
async fn a_broker_that_is_down_at_first_is_used_when_it_comes() {
    let (queue, proxy, _place) = by_way_of_a_proxy(Mode::Refuse);
    let mut listener = timeout(PROMPT, queue.listen(1)).await.unwrap().unwrap();
    for _ in 0..3 {
        let error = timeout(PROMPT, queue.announce(id(), None)).await.unwrap().unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    }
    assert!(queue.ping().await.is_err());
    proxy.set(Mode::Pass);
    let id = id();
    announce(&queue, id).await;
    hear(&mut *listener, id).await.done();
    queue.ping().await.unwrap();
}

#[tokio::test]
async fn a_silent_broker_costs_whoever_announces_a_second() {
    let (queue, proxy, _place) = by_way_of_a_proxy(Mode::Pass);
    announce(&queue, id()).await;
    proxy.set(Mode::Silent);
    for _ in 0..2 {
        let error = timeout(PROMPT, queue.announce(id(), None)).await.expect("in time").unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    }
    assert!(timeout(PROMPT, queue.ping()).await.expect("in time").is_err());
    proxy.set(Mode::Pass);
    announce(&queue, id()).await;
    queue.ping().await.unwrap();
}

#[tokio::test]
async fn a_silent_broker_is_given_up_and_found_again() {
    let (queue, proxy, _place) = by_way_of_a_proxy(Mode::Pass);
    let mut listener = queue.listen(1).await.unwrap();
    announce(&queue, id()).await;
    next(&mut *listener).await.done();
    proxy.set(Mode::Silent);
    // Not only that it does not answer: another connection is tried, in vain.
    until_it_fails(&queue, "connecting", NOTICED).await;
    proxy.set(Mode::Pass);
    let id = id();
    announce(&queue, id).await;
    hear(&mut *listener, id).await.done();
}

#[tokio::test]
async fn what_a_busy_listener_does_not_take_goes_to_others() {
    let place = TestQueue::fresh();
    let (queue, other) = (connect(&place), connect(&place));
    let mut busy = queue.listen(2).await.unwrap();
    let first = id();
    announce(&queue, first).await;
    hear(&mut *busy, first).await.done();
    // Sent ahead to the one that listens, which builds and does not ask.
    let mut left: HashSet<DeploymentId> = [id(), id()].into();
    for id in &left {
        announce(&queue, *id).await;
    }
    let mut idle = other.listen(2).await.unwrap();
    while !left.is_empty() {
        let announcement = next(&mut *idle).await;
        left.remove(&announcement.deployment);
        announcement.done();
    }
    drop(idle);
    // It listens again as soon as it asks.
    let last = id();
    announce(&queue, last).await;
    hear(&mut *busy, last).await.done();
}

#[tokio::test]
async fn what_comes_back_again_and_again_is_set_aside() {
    let place = TestQueue::fresh();
    let queue = connect(&place);
    announce(&queue, id()).await;
    let hand = place.hand().await;
    let returning = async {
        let mut returns = 0;
        while hand.waiting(&place.dead_letters()).await == 0 {
            if let Some((tag, _)) = hand.get(&place.name).await {
                hand.give_back(tag).await;
                returns += 1;
            }
        }
        returns
    };
    let returns = timeout(PATIENCE, returning).await.expect("it ends");
    assert!((50..=200).contains(&returns), "{returns}");
}

#[tokio::test]
async fn a_full_queue_refuses_until_there_is_room() {
    let place = TestQueue::fresh();
    let queue = connect(&place);
    queue.ping().await.unwrap();
    let hand = place.hand().await;
    for _ in 0..10_000 {
        hand.publish(&place.name, id().to_string()).await;
    }
    let refusing = async {
        loop {
            if let Err(error) = queue.announce(id(), None).await
                && error.to_string().contains("full")
            {
                return error;
            }
        }
    };
    let error = timeout(PATIENCE, refusing).await.expect("it is full");
    assert_eq!(error.kind, StoreErrorKind::Unavailable);
    hand.purge(&place.name).await;
    announce(&queue, id()).await;
}

#[tokio::test]
async fn a_queue_with_other_properties_is_used_as_it_is_found() {
    let place = TestQueue::fresh();
    place.hand().await.declare_plain(&place.name).await;
    let queue = connect(&place);
    let mut listener = queue.listen(1).await.unwrap();
    let id = id();
    announce(&queue, id).await;
    hear(&mut *listener, id).await.done();
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let place = TestQueue::fresh();
    let queue = AmqpQueue::connect(&place.url.replace("guest:guest", "guest:hunter2")).unwrap();
    let error = until_it_fails(&queue, "password", PATIENCE).await;
    assert!(!format!("{error} {error:?} {queue:?}").contains("hunter2"), "{error:?}");
}
