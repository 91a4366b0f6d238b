//! The database: whether it answers, has this binary's schema, takes what is written, and agrees
//! about the time.

use super::{Case, Findings, UNREACHED, says, sealed, words};
use crate::config::shown::without_password;
use crate::ports::database::Database;
use crate::wiring::backends;
use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::path::Path;
use time::{Duration, OffsetDateTime};

/// By how much the clocks may differ. Leases are judged by the database's alone; people compare both.
const SKEW_DOUBTFUL: Duration = Duration::seconds(2);
const SKEW_BROKEN: Duration = Duration::seconds(30);

pub(super) fn examine<'a>(case: &'a Case, found: &'a mut Findings) -> BoxFuture<'a, ()> {
    async move {
        let url = case.config.database.url.expose();
        if let Some(file) = url.strip_prefix("sqlite:").filter(|file| !Path::new(file).exists()) {
            found.skipped(
                "database",
                format!("{file} is not there yet: gv up makes it, and so does gv migrate"),
            );
            return;
        }
        let keys = sealed::keys(case);
        match backends::database(&case.config, &keys.clone().unwrap_or_default()) {
            Ok(database) => {
                let is_prepared = connected(case, &*database, found).await;
                if is_prepared && keys.is_some() {
                    sealed::examine(case, &*database, found).await;
                }
            }
            Err(error) => found.broken("database", words(&error), remedy(url, &words(&error))),
        }
    }
    .boxed()
}

/// Whether it can be used, and has this binary's schema.
async fn connected(case: &Case, database: &dyn Database, found: &mut Findings) -> bool {
    let url = case.config.database.url.expose();
    let before = case.now();
    let server = match database.server().await.context("it cannot be used") {
        Ok(server) => server,
        Err(error) => {
            found.broken("database", words(&error), remedy(url, &words(&error)));
            return false;
        }
    };
    found.well("database", format!("{} at {}", server.name, without_password(url)));
    if !url.starts_with("sqlite:") {
        clock(before, case.now(), server.now, found);
    }
    match database.pending().await.context("its schema cannot be read") {
        Err(error) => found.broken("migrations", words(&error), remedy(url, &words(&error))),
        Ok(pending) if !pending.is_empty() => {
            let detail = format!("{} to run: {}", pending.len(), pending.join(", "));
            found.broken(
                "migrations",
                detail,
                "run gv migrate with this configuration (gv up does so itself)",
            );
        }
        Ok(_) => {
            found.well("migrations", "the schema is this binary's");
            match database.rehearse().await.context("it takes no writes") {
                Ok(()) => found.well("database writes", "a row was written and taken back"),
                Err(error) => {
                    found.broken("database writes", words(&error), remedy_of_write(url, &words(&error)));
                }
            }
            return true;
        }
    }
    false
}

fn clock(before: OffsetDateTime, after: OffsetDateTime, theirs: OffsetDateTime, found: &mut Findings) {
    const CHECK: &str = "database clock";
    const REMEDY: &str = "keep the clocks of this machine and of the database's by NTP (chronyd, timesyncd)";
    // It was read somewhere between the two.
    let ahead = if theirs < before {
        theirs - before
    } else if theirs > after {
        theirs - after
    } else {
        Duration::ZERO
    };
    let detail = format!("the database's clock is {:+.1} s from this machine's", ahead.as_seconds_f64());
    match ahead.abs() {
        much if much > SKEW_BROKEN => found.broken(CHECK, detail, REMEDY),
        some if some > SKEW_DOUBTFUL => found.doubtful(CHECK, detail, REMEDY),
        _ => found.well(CHECK, detail),
    }
}

fn remedy(url: &str, why: &str) -> String {
    if let Some(file) = url.strip_prefix("sqlite:") {
        return format!("see that the user gv runs as owns {file} and its folder, or correct database.url");
    }
    let Ok(url) = url::Url::parse(url) else {
        return "correct database.url: postgres://user:password@host:5432/database".to_owned();
    };
    let place = format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(5432));
    let (user, name) = (url.username(), url.path().trim_start_matches('/'));
    // These name roles, too, and are about their number.
    if says(why, &["too many connections", "too many clients", "slots are reserved"]) {
        format!(
            "raise max_connections of PostgreSQL, or the CONNECTION LIMIT of the role in database.url ({user}): each \
             api and each worker has up to 10 connections; or end what else uses them"
        )
    } else if says(why, &["password", "role", "authentication", "pg_hba"]) {
        format!(
            "correct user and password in database.url, or make them: CREATE ROLE {user} LOGIN PASSWORD '...'"
        )
    } else if says(why, &["database \"", "does not exist"]) {
        format!("make it: CREATE DATABASE \"{name}\" OWNER \"{user}\"; or correct its name in database.url")
    } else if says(why, &["tls", "certificate", "ssl"]) {
        "correct sslmode= in database.url, or give the server's root certificate by SSL_CERT_FILE".to_owned()
    } else if says(why, UNREACHED) {
        format!(
            "start PostgreSQL, or correct host and port in database.url (now {place}), or let this machine through"
        )
    } else {
        format!("look at database.url (now {place}) and at PostgreSQL's own log")
    }
}

fn remedy_of_write(url: &str, why: &str) -> String {
    if says(why, &["read-only", "readonly"]) {
        "name the primary in database.url, not a replica; or make the file writable".to_owned()
    } else if says(why, &["permission denied"]) {
        "let gv's user own its tables: REASSIGN OWNED BY the one who migrated TO the one in database.url"
            .to_owned()
    } else if says(why, &["full", "no space"]) {
        "make room on the database's disk".to_owned()
    } else {
        remedy(url, why)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn clocks_may_differ_by_two_seconds_and_must_not_by_thirty() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let later = now + Duration::seconds(1);
        for (ahead_ms, verdict) in [
            (0, Verdict::Well),
            (500, Verdict::Well),
            (2_900, Verdict::Well),
            (-1_900, Verdict::Well),
            (3_500, Verdict::Doubtful),
            (-2_500, Verdict::Doubtful),
            (32_000, Verdict::Broken),
            (-31_000, Verdict::Broken),
        ] {
            let mut found = Findings::default();
            clock(now, later, now + Duration::milliseconds(ahead_ms), &mut found);
            let found: Vec<super::super::Finding> = found.into();
            assert_eq!(found[0].verdict, verdict, "{ahead_ms}");
        }
    }

    #[test]
    fn what_helps_goes_by_what_the_server_said_and_names_the_key() {
        let url = "postgres://ada:hunter2@db:5433/sites";
        for (why, part) in [
            ("FATAL: password authentication failed for user", "CREATE ROLE ada"),
            ("FATAL: database \"sites\" does not exist", "CREATE DATABASE \"sites\""),
            (
                "FATAL: too many connections for role \"ada\"",
                "CONNECTION LIMIT of the role in database.url (ada)",
            ),
            (
                "FATAL: remaining connection slots are reserved for roles with privileges of",
                "max_connections",
            ),
            ("FATAL: sorry, too many clients already", "max_connections"),
            ("Connection refused (os error 111)", "db:5433"),
            ("something else", "PostgreSQL's own log"),
        ] {
            let remedy = remedy(url, why);
            assert!(remedy.contains(part) && remedy.contains("database.url"), "{why}: {remedy}");
            assert!(!remedy.contains("hunter2"), "{remedy}");
        }
    }
}
