//! Redis away, silent, slow, full, emptied, or cut again and again: visitors get their pages, a
//! build ends ready, and whoever follows its log misses nothing.

use super::follower::Follower;
use super::load::Load;
use super::{Fleet, Site, Size, submit_build};
use crate::support::account::Account;
use crate::support::fault_proxy::Mode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Proxy(Mode),
    /// No room, and nothing may be thrown out.
    Full,
    /// Everything it held is gone, once a second.
    Emptied,
    /// Killed, and an empty one in its place after a while.
    Restarted,
}

const SECONDS: usize = 6;

async fn expect_all_goes_on_with(fault: Fault) {
    let mut fleet = Fleet::start(Size { apis: 1, workers: 1, edges: 2 }).await;
    let (known, cold) =
        (Site::publish(&fleet, "known", "one", 20).await, Site::publish(&fleet, "cold", "one", 200).await);
    let load = Load::start(&fleet, known.pages(), cold.pages()).await;
    let calm = load.watch(Duration::from_secs(3)).await;
    calm.expect_right("calm");

    // A line every tenth of a second, longer than the fault lasts.
    let lines = (SECONDS + 2) * 10;
    let script = format!(
        "n=0; while [ $n -lt {lines} ]; do n=$((n+1)); echo line $n; sleep 0.1; done; {}",
        super::page_of("built")
    );
    let id = submit_build(&fleet, "built", &script).await;
    let address = Arc::new(Mutex::new(fleet.apis[0].url()));
    let follower = Follower::start(&fleet, address, &id);
    super::eventually("the log is followed", Duration::from_secs(20), async || follower.lines() > 5).await;
    let account = Account::clone(&fleet);
    tokio::join!(go_wrong(&mut fleet, fault), expect_a_person_gets_in(&account));
    let during = load.seen();
    let deployment = fleet.wait_for(&id, &["ready"]).await;
    let followed = follower.followed().await;
    println!("{fault:?}: the log came in {} streams", followed.streams);

    during.expect_right(&format!("{fault:?}"));
    during.expect_quick(&calm, &format!("{fault:?}"));
    load.seen().expect_right(&format!("after {fault:?}"));
    assert_eq!((followed.end.as_deref(), &deployment["attempt"]), (Some("ready"), &1.into()));
    followed.expect((1..=lines).map(|n| format!("line {n}")));
    super::expect_page(&fleet, "built.localhost", "built\n").await;
}

/// Counting tries, which is the cache's, neither keeps anybody out nor waiting.
async fn expect_a_person_gets_in(account: &Account) {
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = std::time::Instant::now();
    account.account("grace@example.com").await;
    println!("somebody registered within {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// For so many seconds; then all is well again.
async fn go_wrong(fleet: &mut Fleet, fault: Fault) {
    let services = &mut fleet.services;
    let time = Duration::from_secs(SECONDS as u64);
    match fault {
        Fault::Proxy(mode) => {
            services.redis.set(mode);
            tokio::time::sleep(time).await;
            services.redis.set(Mode::Pass);
        }
        Fault::Full => {
            services.redis_server.fill();
            tokio::time::sleep(time).await;
            services.redis_server.make_room();
        }
        Fault::Emptied => {
            for _ in 0..SECONDS {
                services.redis_server.empty();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Fault::Restarted => {
            services.redis_server.kill();
            tokio::time::sleep(time / 2).await;
            services.redis_server.run();
            tokio::time::sleep(time / 2).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_while_redis_refuses() {
    expect_all_goes_on_with(Fault::Proxy(Mode::Refuse)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_while_redis_is_silent() {
    expect_all_goes_on_with(Fault::Proxy(Mode::Silent)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_while_redis_is_slow() {
    expect_all_goes_on_with(Fault::Proxy(Mode::Slow(Duration::from_millis(250)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_while_redis_is_cut_again_and_again() {
    expect_all_goes_on_with(Fault::Proxy(Mode::Reset(Duration::from_millis(700)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_while_redis_is_full() {
    expect_all_goes_on_with(Fault::Full).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_while_redis_is_emptied() {
    expect_all_goes_on_with(Fault::Emptied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_goes_on_while_redis_dies_and_comes_back_empty() {
    expect_all_goes_on_with(Fault::Restarted).await;
}
