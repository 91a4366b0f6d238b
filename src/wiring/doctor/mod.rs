//! `gv doctor`: does once, with things of its own, what the roles do all day with each service, and
//! says what is wrong and what helps.
//!
//! The subjects are examined side by side, each for at most [`DEADLINE`]; what one of them meets hides
//! nothing of the others. Nothing is left behind: a row is taken back, a queue goes with its
//! connection, an object is deleted. (gv's own queues, and `gv-probe` in a bucket, are made as any
//! role makes them.) What does not exist before a first start (an SQLite file, a folder) is not made.
//!
//! Not here: how a running process is, which its `/readyz` says. Start with [`examine`] and
//! [`SUBJECTS`]; one file is one subject.

mod cache;
mod configuration;
mod database;
mod disk;
mod domain;
mod findings;
mod machine;
mod queue;
mod sealed;
mod storage;

pub use configuration::invalid;
pub use findings::{Finding, Findings, Verdict};

use crate::adapters::clock::SystemClock;
use crate::config::Config;
use crate::config::load::Loaded;
use crate::ports::clock::Clock;
use futures_util::future::{BoxFuture, join_all};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// For one subject, all in all.
const DEADLINE: Duration = Duration::from_secs(10);

/// Whose configuration it is: an edge has no credentials of the database, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    Api,
    Worker,
    Edge,
}

use Role::{Api, Edge, Worker};

/// One thing to be examined, and which roles need it.
struct Subject {
    name: &'static str,
    roles: &'static [Role],
    /// What helps where there is no answer at all.
    remedy: &'static str,
    examine: for<'a> fn(&'a Case, &'a mut Findings) -> BoxFuture<'a, ()>,
}

const SUBJECTS: &[Subject] = &[
    Subject {
        name: "database",
        roles: &[Api, Worker],
        remedy: "see whether the server of database.url hangs, or a firewall swallows what is sent to it",
        examine: database::examine,
    },
    Subject {
        name: "queue",
        roles: &[Api, Worker],
        remedy: "see whether the broker of queue.url hangs, or a firewall swallows what is sent to it",
        examine: queue::examine,
    },
    Subject {
        name: "cache",
        roles: &[Api, Worker, Edge],
        remedy: "see whether the server of cache.url hangs, or a firewall swallows what is sent to it",
        examine: cache::examine,
    },
    Subject {
        name: "storage",
        roles: &[Api, Worker, Edge],
        remedy: "see whether the endpoint of blobs.url hangs, or a firewall swallows what is sent to it",
        examine: storage::examine,
    },
    Subject {
        name: "domain",
        roles: &[Api, Edge],
        remedy: "see whether this machine's DNS server answers",
        examine: domain::examine,
    },
    Subject {
        name: "sandbox",
        roles: &[Worker],
        remedy: "see what keeps this machine from starting a program",
        examine: machine::sandbox,
    },
    Subject {
        name: "programs",
        roles: &[Worker],
        remedy: "see whether a folder of PATH hangs",
        examine: machine::programs,
    },
    Subject {
        name: "memory",
        roles: &[Edge],
        remedy: "see whether /proc is there",
        examine: machine::memory,
    },
    Subject {
        name: "disk",
        roles: &[Worker, Edge],
        remedy: "see whether a folder of data_dir, worker.dir, edge.disk_dir or blobs.url hangs",
        examine: disk::examine,
    },
];

/// What a subject is examined with.
struct Case {
    config: Config,
    /// `None`: all that is configured.
    role: Option<Role>,
}

impl Case {
    fn now(&self) -> OffsetDateTime {
        SystemClock.now()
    }

    /// Whether the role is this one, or any.
    fn concerns(&self, role: Role) -> bool {
        self.role.is_none_or(|one| one == role)
    }
}

/// Examines all that `role` needs (without one, all that is configured). `file` is where the
/// configuration was read from.
pub async fn examine(loaded: &Loaded, file: Option<&Path>, role: Option<Role>) -> Vec<Finding> {
    let mut findings = configuration::examine(loaded, file, role);
    let case = Arc::new(Case { config: loaded.config.clone(), role });
    let wanted = SUBJECTS.iter().filter(|subject| role.is_none_or(|role| subject.roles.contains(&role)));
    for found in join_all(wanted.map(|subject| within_deadline(subject, case.clone()))).await {
        findings.append(found);
    }
    findings.into()
}

/// In a task of its own: one that falls over takes none along.
async fn within_deadline(subject: &'static Subject, case: Arc<Case>) -> Findings {
    let examined = tokio::spawn(async move {
        let mut found = Findings::default();
        let examining = (subject.examine)(&case, &mut found);
        if tokio::time::timeout(DEADLINE, examining).await.is_err() {
            let detail = format!("did not come to an end within {} s", DEADLINE.as_secs());
            found.broken(subject.name, detail, subject.remedy);
        }
        found
    });
    examined.await.unwrap_or_else(|fallen| {
        let mut found = Findings::default();
        let remedy = "this is a defect of gv: report it, with what stands above on standard error";
        found.broken(subject.name, format!("the examination fell over: {fallen}"), remedy);
        found
    })
}

/// An error with all its reasons, of which many repeat the one below.
fn words(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for reason in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = reason;
        } else if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
    }
    text
}

/// Whether any of these words is in a text, whatever their case.
fn says(text: &str, words: &[&str]) -> bool {
    let text = text.to_lowercase();
    words.iter().any(|word| text.contains(word))
}

/// Words of the system for a server that is not reached.
const UNREACHED: &[&str] = &[
    "connection refused",
    "timed out",
    "did not answer",
    "no answer",
    "lookup",
    "name or service",
    "no route",
    "unreachable",
    "cannot be reached",
    "reset by peer",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_its_own_subjects_and_an_edge_is_asked_for_no_database() {
        let of = |role| -> Vec<&str> {
            let subjects = SUBJECTS.iter().filter(|subject| subject.roles.contains(&role));
            subjects.map(|subject| subject.name).collect()
        };
        assert_eq!(of(Api), ["database", "queue", "cache", "storage", "domain"]);
        assert_eq!(of(Worker), ["database", "queue", "cache", "storage", "sandbox", "programs", "disk"]);
        assert_eq!(of(Edge), ["cache", "storage", "domain", "memory", "disk"]);
    }
}
