//! `gv doctor`: each thing that is broken is named, with what helps, and hides nothing of the others.

use crate::support::gv::{Gv, Settings, command};
use crate::support::redis::RedisServer;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

/// Where nobody listens.
const CLOSED: &str = "127.0.0.1:1";
/// A subject has 10 s; a busy machine adds to that.
const AT_MOST: Duration = Duration::from_secs(20);

/// One run, by its JSON.
struct Report {
    code: i32,
    findings: Vec<Value>,
}

impl Report {
    fn of(output: &Output) -> Self {
        let findings = serde_json::from_slice(&output.stdout);
        let findings = findings.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        Self { code: output.status.code().unwrap(), findings }
    }

    fn find(&self, check: &str) -> Option<&Value> {
        self.findings.iter().find(|finding| finding["check"] == check)
    }

    fn verdict(&self, check: &str) -> &str {
        self.find(check).map_or("absent", |finding| finding["verdict"].as_str().unwrap())
    }

    /// The check is broken, and says both.
    fn expect_broken(&self, check: &str, detail: &str, remedy: &str) {
        let finding = self.find(check).unwrap_or_else(|| panic!("no {check} in {self}"));
        assert_eq!((&finding["verdict"], &finding["ok"]), (&"broken".into(), &false.into()), "{finding}");
        let says = |key: &str, part: &str| finding[key].as_str().unwrap().contains(part);
        assert!(says("detail", detail), "{detail:?} is not in {finding}");
        assert!(says("remedy", remedy), "{remedy:?} is not in {finding}");
        assert_eq!(self.code, 1, "{self}");
    }

    fn broken(&self) -> Vec<&str> {
        let broken = self.findings.iter().filter(|finding| finding["ok"] == false);
        broken.map(|finding| finding["check"].as_str().unwrap()).collect()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

/// Runs it with these settings in a data folder of its own.
fn doctor(data: &Path, settings: &Settings, args: &[&str]) -> Report {
    let mut command = command();
    command.env("HOME", data).env("GV_DATA_DIR", data.join("data")).envs(settings.variables());
    let began = Instant::now();
    let output = command.args(["doctor", "--json"]).args(args).output().unwrap();
    assert!(began.elapsed() < AT_MOST, "it took {:?}", began.elapsed());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("hunter2"), "a password is shown: {text}");
    Report::of(&output)
}

fn fresh(settings: &Settings, args: &[&str]) -> Report {
    doctor(tempfile::tempdir().unwrap().path(), settings, args)
}

#[test]
fn on_a_fresh_machine_nothing_is_broken_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let report = doctor(folder.path(), &Settings::default(), &[]);
    assert_eq!((report.code, report.broken()), (0, vec![]), "{report}");
    for (check, verdict) in [
        ("configuration", "well"),
        ("database", "skipped"),
        ("queue", "well"),
        ("cache", "well"),
        ("storage", "skipped"),
        ("domain", "skipped"),
        ("sandbox", "well"),
    ] {
        assert_eq!(report.verdict(check), verdict, "{report}");
    }
    for check in ["programs", "memory", "disk of data_dir", "disk of worker.dir", "disk of blobs.url"] {
        assert_ne!(report.verdict(check), "absent", "{report}");
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "it left something behind");
}

#[test]
fn edges_that_get_certificates_need_keys_to_seal_theirs_by_and_an_authority_that_is_trusted() {
    let settings = Settings::default()
        .set("GV_ACME__ENABLED", true)
        .set("GV_ACME__TERMS_AGREED", true)
        .set("GV_EDGE__TLS_LISTEN", "127.0.0.1:0")
        .set("GV_ACME__DIRECTORY", "letsencrypt-staging");
    let report = fresh(&settings, &["--role", "edge"]);
    report.expect_broken("certificates", "secrets.keys is empty", "give every gv edge");
    assert_eq!(fresh(&settings, &[]).verdict("certificates"), "doubtful", "gv up has keys of its own");
    let settings = settings.set("GV_ACME__DIRECTORY", "letsencrypt");
    let report = fresh(&settings, &[]);
    assert_eq!(report.verdict("certificates"), "doubtful", "every host of gv is below domain: {report}");
    let remedy = report.find("certificates").unwrap()["remedy"].as_str().unwrap();
    assert!(remedy.contains("acme.on_demand") && remedy.contains("acme.dns_provider"), "{remedy}");
    let all = settings.clone().set("GV_ACME__ON_DEMAND", "all");
    assert_eq!(fresh(&all, &[]).verdict("certificates"), "well");
    let wildcard = settings.set("GV_ACME__DNS_PROVIDER", "exec").set("GV_ACME__DNS_EXEC", "/bin/true");
    assert_eq!(fresh(&wildcard, &[]).verdict("certificates"), "well");
}

#[test]
fn certificate_files_that_keep_an_edge_from_starting_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let signed = ["a", "b"].map(|name| {
        let made = rcgen::generate_simple_self_signed([format!("{name}.example.com")]).unwrap();
        std::fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
        (path(&format!("{name}.pem")), path(&format!("{name}.key")))
    });
    let with = |cert: &str, key: &str| {
        Settings::default()
            .set("GV_EDGE__TLS_LISTEN", "127.0.0.1:0")
            .set("GV_EDGE__TLS_CERT", cert)
            .set("GV_EDGE__TLS_KEY", key)
    };
    let [(cert, key), (_, others)] = &signed;
    for args in [&["--role", "edge"][..], &[]] {
        let report = fresh(&with("/nonexistent.pem", key), args);
        report.expect_broken("certificate files", "/nonexistent.pem", "edge.tls_cert");
        let report = fresh(&with(cert, others), args);
        report.expect_broken("certificate files", "does not fit", "edge.tls_key");
        assert_eq!(fresh(&with(cert, key), args).verdict("certificate files"), "well");
    }
    assert_eq!(fresh(&with(cert, others), &["--role", "worker"]).verdict("certificate files"), "absent");
}

#[test]
fn roles_that_seal_do_not_start_without_a_key_and_are_told_so() {
    for role in ["api", "worker"] {
        let report = fresh(&Settings::default(), &["--role", role]);
        report.expect_broken("secret keys", "secrets.keys is empty", "gv secrets keygen");
        let with = Settings::default().set("GV_SECRETS__KEYS", crate::support::database::SECRET_KEY);
        assert_eq!(fresh(&with, &["--role", role]).verdict("secret keys"), "well");
        let cut = Settings::default().set("GV_SECRETS__KEYS", "gvs1.hunter2");
        fresh(&cut, &["--role", role]).expect_broken("secret keys", "key 1", "gv secrets keygen");
    }
    for args in [&["--role", "edge"][..], &[]] {
        assert_eq!(fresh(&Settings::default(), args).verdict("secret keys"), "absent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_running_gv_everything_is_tried_out_and_exits_0() {
    let gv = Gv::start(Settings::default()).await;
    let output = gv.operator_command(&["doctor", "--json"]).output().unwrap();
    let report = Report::of(&output);
    assert_eq!((report.code, report.broken()), (0, vec![]), "{report}");
    for check in ["database", "migrations", "database writes", "queue", "cache", "storage"] {
        assert_eq!(report.verdict(check), "well", "{report}");
    }
    let listed = gv.operator_command(&["user", "list", "--json"]).output().unwrap();
    let users: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(users.as_array().map(Vec::len), Some(1), "a row stayed: {users}");
    let left = std::fs::read_dir(gv.data_dir().join("blobs/blobs"));
    assert_eq!(left.map_or(0, Iterator::count), 0, "an object stayed");
}

#[test]
fn people_read_a_line_a_check_the_remedy_below_and_a_sum() {
    let folder = tempfile::tempdir().unwrap();
    let run = |cache: &str| {
        let mut command = command();
        command.env("HOME", folder.path()).env("GV_DATA_DIR", folder.path()).env("GV_CACHE__URL", cache);
        command.arg("doctor").output().unwrap()
    };
    let text = String::from_utf8(run(&format!("redis://:hunter2@{CLOSED}/0")).stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("broken    cache: ")).expect(&text);
    assert!(lines[at + 1].trim_start().starts_with("-> ") && lines[at + 1].contains("cache.url"), "{text}");
    let last = lines.last().unwrap();
    assert!(last.contains(" checks: ") && last.contains("1 broken"), "{last}");
    assert!(!text.contains('\u{1b}'), "no colours where nobody sees them");
    assert!(String::from_utf8(run("memory:").stdout).unwrap().contains(" checks: "));
}

#[test]
fn a_configuration_that_is_not_valid_is_the_one_finding_with_all_its_problems() {
    let settings = Settings::default().set("GV_WORKER__LEASE_S", "soon").set("GV_DOMAIN", "no domain");
    let report = fresh(&settings, &[]);
    assert_eq!(report.findings.len(), 1, "{report}");
    report.expect_broken("configuration", "worker.lease_s", "gv config check");
    report.expect_broken("configuration", "domain", "config/gv.toml");
}

#[test]
fn servers_that_nobody_reaches_are_each_named_and_hide_nothing_of_the_others() {
    let settings = Settings::default()
        .set("GV_DATABASE__URL", format!("postgres://ada:hunter2@{CLOSED}/gv"))
        .set("GV_QUEUE__URL", format!("amqp://ada:hunter2@{CLOSED}/gv"))
        .set("GV_CACHE__URL", format!("redis://:hunter2@{CLOSED}/0"))
        .set("GV_BLOBS__URL", format!("s3://sites?endpoint=http://{CLOSED}&region=r"))
        .set("GV_BLOBS__ACCESS_KEY", "key")
        .set("GV_BLOBS__SECRET_KEY", "hunter2");
    let report = fresh(&settings, &[]);
    report.expect_broken("database", "refused", "database.url (now 127.0.0.1:1)");
    report.expect_broken("queue", "refused", "queue.url (now 127.0.0.1:1)");
    report.expect_broken("cache", "refused", "cache.url (now 127.0.0.1:1)");
    report.expect_broken("storage", "refused", "blobs.url");
    assert_eq!(report.broken(), ["database", "queue", "cache", "storage"]);
    assert_ne!(report.verdict("disk of data_dir"), "absent");
}

#[test]
fn urls_that_are_not_understood_are_named_by_their_key() {
    for (variable, url, check) in [
        ("GV_DATABASE__URL", "postgres://ada:hunter2@db:port/gv", "database"),
        ("GV_QUEUE__URL", "amqp://ada:hunter2@mq/a/b", "queue"),
        ("GV_CACHE__URL", "redis://:hunter2@cache/x", "cache"),
        ("GV_BLOBS__URL", "s3://sites?endpoint=hunter2", "storage"),
    ] {
        let report = fresh(&Settings::default().set(variable, url), &[]);
        let key = variable.trim_start_matches("GV_").replace("__", ".").to_lowercase();
        report.expect_broken(check, "", &key);
        assert_eq!(report.broken(), [check], "{report}");
    }
}

#[test]
fn a_database_without_its_migrations_is_named_with_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gv.db");
    let settings = Settings::default().set("GV_DATABASE__URL", format!("sqlite:{}", file.display()));
    std::fs::write(&file, "").unwrap();
    let report = doctor(folder.path(), &settings, &[]);
    report.expect_broken("migrations", "0001_tables", "gv migrate");
    assert_eq!((report.verdict("database"), report.verdict("database writes")), ("well", "absent"));
}

#[test]
fn a_storage_folder_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs");
    std::fs::write(&blobs, "not a folder").unwrap();
    let settings = Settings::default().set("GV_BLOBS__URL", format!("file:{}", blobs.display()));
    let report = doctor(folder.path(), &settings, &[]);
    report.expect_broken("storage", "", "blobs.url");
}

#[test]
fn a_domain_that_leads_nowhere_is_named_with_the_record_that_is_missing() {
    let report = fresh(&Settings::default().set("GV_DOMAIN", "sites.invalid"), &[]);
    report.expect_broken("domain", "*.sites.invalid", "DNS record *.sites.invalid");
    assert_eq!(report.verdict("api address"), "doubtful", "{report}");
    assert_eq!(report.verdict("registration"), "doubtful", "anybody could make an account there");
    let closed = Settings::default().set("GV_DOMAIN", "sites.invalid").set("GV_AUTH__REGISTRATION", "closed");
    assert_eq!(fresh(&closed, &["--role", "api"]).verdict("registration"), "absent");
}

#[test]
fn each_role_is_examined_for_what_it_needs_alone() {
    let settings = Settings::default()
        .set("GV_DATABASE__URL", format!("postgres://ada:hunter2@{CLOSED}/gv"))
        .set("GV_QUEUE__URL", format!("amqp://ada:hunter2@{CLOSED}/gv"))
        .set("GV_CACHE__URL", format!("redis://:hunter2@{CLOSED}/0"));
    let report = fresh(&settings, &["--role", "edge"]);
    assert_eq!((report.verdict("database"), report.verdict("queue")), ("absent", "absent"), "{report}");
    assert_eq!(report.broken(), ["cache"], "{report}");
    let report = fresh(&Settings::default(), &["--role", "api"]);
    report.expect_broken("queue.url", "memory:", "gv up");
    report.expect_broken("cache.url", "memory:", "gv up");
    report.expect_broken("signing keys", "gv config keygen", "auth.signing_keys");
    assert_eq!(report.verdict("sandbox"), "absent", "an api builds nothing: {report}");
}

#[test]
fn secrets_in_a_file_that_everybody_reads_are_doubtful() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gv.toml");
    let path = file.to_str().unwrap();
    for held in [
        "cache.url = \"redis://:hunter2@127.0.0.1:1/0\"",
        "secrets.keys = [\"gvs1.hunter2\"]",
        "telemetry.otlp_headers = [\"authorization=hunter2\"]",
        "worker.registry = \"https://ada:hunter2@npm.example.com/\"",
    ] {
        std::fs::write(&file, format!("{held}\n")).unwrap();
        for (mode, verdict) in [(0o644, "doubtful"), (0o640, "absent")] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let report = doctor(folder.path(), &Settings::default(), &["--config", path, "--role", "edge"]);
            assert_eq!(report.verdict("secrets"), verdict, "{held} {mode:o}: {report}");
        }
    }
}

#[test]
fn a_cache_that_grows_without_end_or_is_full_is_told() {
    let server = RedisServer::start();
    let settings = Settings::default().set("GV_CACHE__URL", server.url());
    let report = fresh(&settings, &[]);
    let verdicts = ["cache", "notices", "cache room"].map(|check| report.verdict(check));
    assert_eq!((report.code, verdicts), (0, ["well", "well", "doubtful"]), "{report}");
    assert_eq!(server.command(&["DBSIZE"]), ":0\r\n", "a key stayed");
    server.fill();
    let report = fresh(&settings, &[]);
    report.expect_broken("cache", "OOM", "maxmemory-policy allkeys-lru");
    assert_eq!(report.verdict("cache room"), "doubtful", "{report}");
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    server.command(&["CONFIG", "SET", "maxmemory", "100mb"]);
    assert_eq!(fresh(&settings, &[]).verdict("cache room"), "well");
    server.command(&["CONFIG", "SET", "requirepass", "another"]);
    fresh(&settings, &[]).expect_broken("cache", "NOAUTH", "password in cache.url");
}

#[test]
fn a_server_that_is_silent_is_named_in_time() {
    let server = RedisServer::start();
    server.freeze();
    let report = fresh(&Settings::default().set("GV_CACHE__URL", server.url()), &[]);
    server.thaw();
    report.expect_broken("cache", "", "cache.url");
    assert_eq!(report.broken(), ["cache"], "{report}");
}

/// On PostgreSQL, RabbitMQ and S3.
mod real {
    use super::*;
    use crate::support::database::{TestDatabase, fresh_url};
    use crate::support::fault_proxy::{FaultProxy, Mode};
    use crate::support::rabbitmq::TestQueue;
    use crate::support::services::{blobs_url, object_storage_keys};
    use gv::ports::accounts::Users;
    use gv::ports::database::Schema;
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
        let all =
            ["migrations", "database writes", "database clock", "notices", "cache room", "storage clock"];
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
        let endpoint =
            services.blobs.query_pairs().find(|(key, _)| key == "endpoint").unwrap().1.into_owned();
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
        for (check, key) in SERVICES.into_iter().zip(["database.url", "queue.url", "cache.url", "blobs.url"])
        {
            report.expect_broken(check, "", key);
        }
    }
}
