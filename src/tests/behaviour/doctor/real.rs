//! Beside PostgreSQL, RabbitMQ, Redis and S3: which of them is wrong, and that nothing stays on them.

use super::{CLOSED, Report, fresh};
use crate::support::database::{TestDatabase, fresh_url};
use crate::support::fault_proxy::{FaultProxy, Mode};
use crate::support::gv::Settings;
use crate::support::rabbitmq::TestQueue;
use crate::support::redis::RedisServer;
use crate::support::services::{blobs_url, object_storage_keys};
use gv::ports::accounts::Users;
use gv::ports::database::Schema;
use std::time::Instant;
use url::Url;

/// Four services in order, and what a gv is told of them.
struct Services {
    database: TestDatabase,
    queue: TestQueue,
    redis: RedisServer,
    blobs: Url,
}

impl Services {
    async fn start() -> Self {
        let (database, queue, redis) = (fresh_url().await, TestQueue::fresh(), RedisServer::start());
        database.connect().migrate().await.unwrap();
        redis.command(&["CONFIG", "SET", "maxmemory", "100mb"]);
        redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
        let blobs = Url::parse(&blobs_url().expect("GV_TEST_BLOBS_URL")).unwrap();
        Self { database, queue, redis, blobs }
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::default()
            .set("GV_DATABASE__URL", self.database.url.clone())
            .set("GV_QUEUE__URL", self.queue.url.clone())
            .set("GV_CACHE__URL", self.redis.url())
            .set("GV_BLOBS__URL", self.blobs.to_string());
        for (name, key) in object_storage_keys() {
            settings = settings.set(name, key);
        }
        settings
    }

    fn database_url(&self) -> Url {
        Url::parse(&self.database.url).unwrap()
    }

    fn queue_url(&self) -> Url {
        Url::parse(&self.queue.url).unwrap()
    }

    /// The storage's URL with this in place of one parameter.
    fn blobs_with(&self, key: &str, value: &str) -> String {
        let mut url = self.blobs.clone();
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let pairs = pairs.into_iter().map(|(name, old)| {
            let new = if name == key { value.to_owned() } else { old };
            (name, new)
        });
        url.query_pairs_mut().clear().extend_pairs(pairs);
        url.into()
    }
}

const SERVICES: [&str; 4] = ["database", "queue", "cache", "storage"];

/// The named check is broken, as the other services are not.
fn expect_alone(report: &Report, check: &str, subject: &str, detail: &str, remedy: &str) {
    report.expect_broken(check, detail, remedy);
    assert_eq!(report.broken(), [check], "{report}");
    for other in SERVICES.into_iter().filter(|other| *other != subject) {
        assert_eq!(report.verdict(other), "well", "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_everything_says_so_and_nothing_stays() {
    let services = Services::start().await;
    let report = fresh(&services.settings(), &[]);
    assert_eq!((report.code, report.broken()), (0, vec![]), "{report}");
    let all = ["migrations", "database writes", "database clock", "notices", "cache room", "storage clock"];
    for check in SERVICES.into_iter().chain(all) {
        assert_eq!(report.verdict(check), "well", "{report}");
    }
    assert_eq!(report.verdict("workers"), "doubtful", "nobody listens");
    let database = services.database.connect();
    assert_eq!(database.list_users(None, 10).await.unwrap(), [], "a row stayed");
    assert_eq!(services.redis.command(&["DBSIZE"]), ":0\r\n", "a key stayed");
    let hand = services.queue.hand().await;
    assert_eq!(hand.waiting(&services.queue.name).await, 0, "a message stayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_wrong_is_named_alone() {
    let services = Services::start().await;
    let with = |url: Url| services.settings().set("GV_DATABASE__URL", String::from(url));
    let mut closed = services.database_url();
    closed.set_port(Some(1)).unwrap();
    let report = fresh(&with(closed), &[]);
    expect_alone(&report, "database", "database", "refused", "start PostgreSQL");
    let mut stranger = services.database_url();
    stranger.set_username("nobody_here").unwrap();
    let report = fresh(&with(stranger), &[]);
    expect_alone(&report, "database", "database", "nobody_here", "CREATE ROLE nobody_here");
    let mut missing = services.database_url();
    missing.set_path("not_made");
    let report = fresh(&with(missing), &[]);
    expect_alone(&report, "database", "database", "not_made", "CREATE DATABASE \"not_made\"");
    let empty = fresh_url().await;
    let report = fresh(&services.settings().set("GV_DATABASE__URL", empty.url.clone()), &[]);
    report.expect_broken("migrations", "0001_tables", "gv migrate");
    assert_eq!(report.broken(), ["migrations"], "{report}");
    let mut read_only = services.database_url();
    read_only.set_query(Some("options=-c%20default_transaction_read_only%3Don"));
    let report = fresh(&with(read_only), &[]);
    report.expect_broken("database writes", "read-only", "primary");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_wrong_is_named_alone() {
    let services = Services::start().await;
    let with = |url: Url| services.settings().set("GV_QUEUE__URL", String::from(url));
    let mut closed = services.queue_url();
    closed.set_port(Some(1)).unwrap();
    expect_alone(&fresh(&with(closed), &[]), "queue", "queue", "refused", "start RabbitMQ");
    let mut stranger = services.queue_url();
    stranger.set_password(Some("hunter2")).unwrap();
    expect_alone(&fresh(&with(stranger), &[]), "queue", "queue", "", "user and password in queue.url");
    let mut elsewhere = services.queue_url();
    elsewhere.set_path("/not-made");
    expect_alone(&fresh(&with(elsewhere), &[]), "queue", "queue", "", "rabbitmqctl add_vhost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_is_wrong_is_named_alone() {
    let mut services = Services::start().await;
    let refused = services.settings().set("GV_CACHE__URL", format!("redis://{CLOSED}/0"));
    expect_alone(&fresh(&refused, &[]), "cache", "cache", "refused", "start Redis");
    services.redis.kill();
    expect_alone(&fresh(&services.settings(), &[]), "cache", "cache", "refused", "start Redis");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_is_wrong_is_named_alone() {
    let services = Services::start().await;
    let with = |url: String| services.settings().set("GV_BLOBS__URL", url);
    let closed = with(services.blobs_with("endpoint", &format!("http://{CLOSED}")));
    expect_alone(&fresh(&closed, &[]), "storage", "storage", "refused", "endpoint= in blobs.url");
    let mut missing = services.blobs.clone();
    missing.set_host(Some("not-made")).unwrap();
    let report = fresh(&with(missing.into()), &[]);
    expect_alone(&report, "storage", "storage", "not-made", "make the bucket not-made");
    for key in ["GV_BLOBS__ACCESS_KEY", "GV_BLOBS__SECRET_KEY"] {
        let mut keys = services.settings();
        for (name, value) in object_storage_keys() {
            keys = keys.set(
                &name
                    .replace("AWS_ACCESS_KEY_ID", "GV_BLOBS__ACCESS_KEY")
                    .replace("AWS_SECRET_ACCESS_KEY", "GV_BLOBS__SECRET_KEY"),
                value,
            );
        }
        let report = fresh(&keys.set(key, "hunter2"), &[]);
        expect_alone(&report, "storage", "storage", "keys", "blobs.access_key and blobs.secret_key");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_silent_are_each_named_within_the_deadline() {
    let services = Services::start().await;
    let endpoint = services.blobs.query_pairs().find(|(key, _)| key == "endpoint").unwrap().1.into_owned();
    let endpoint = Url::parse(&endpoint).unwrap();
    let of = |url: &Url, port| format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(port));
    let proxies = [
        FaultProxy::start(of(&services.database_url(), 5432)),
        FaultProxy::start(services.queue.broker()),
        FaultProxy::start(format!("127.0.0.1:{}", services.redis.port())),
        FaultProxy::start(of(&endpoint, 80)),
    ];
    let [database, queue, cache, storage] = proxies.each_ref().map(FaultProxy::address);
    let mut database_url = services.database_url();
    database_url.set_host(Some("127.0.0.1")).unwrap();
    database_url.set_port(Some(database.port())).unwrap();
    let settings = services
        .settings()
        .set("GV_DATABASE__URL", String::from(database_url))
        .set("GV_QUEUE__URL", services.queue.url_by_way_of(queue))
        .set("GV_CACHE__URL", format!("redis://{cache}/0"))
        .set("GV_BLOBS__URL", services.blobs_with("endpoint", &format!("http://{storage}")));
    let run = |settings: Settings| tokio::task::spawn_blocking(move || fresh(&settings, &[]));
    let report = run(settings.clone()).await.unwrap();
    assert_eq!((report.code, report.broken()), (0, vec![]), "by way of the proxies: {report}");
    for proxy in &proxies {
        proxy.set(Mode::Silent);
    }
    let began = Instant::now();
    let report = run(settings).await.unwrap();
    println!("four silent services: {:?}", began.elapsed());
    for (check, key) in SERVICES.into_iter().zip(["database.url", "queue.url", "cache.url", "blobs.url"]) {
        report.expect_broken(check, "", key);
    }
}
