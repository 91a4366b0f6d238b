//! Servers and folders that a gv is told of and that are not there, not understood, full or silent.

use super::{CLOSED, doctor, fresh};
use crate::support::gv::Settings;
use crate::support::redis::RedisServer;

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
