//! Object storage: whether an object can be stored, read, replaced under a condition and deleted.
//!
//! gv lists nothing in a storage, so that nothing is listed here; the right to list a bucket is
//! needed all the same, for it is what lets S3 say that an object is absent: that is asked first. An
//! edge only reads, and its keys may do no more.

use super::{Case, Findings, Role, UNREACHED, says, words};
use crate::config::shown::without_password;
use crate::ports::blobs::{Blobs, Body, Key};
use crate::wiring::backends;
use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// Of the time that there is: the rest is for deleting what may have been stored.
const REHEARSAL: Duration = Duration::from_secs(7);
const DELETING: Duration = Duration::from_secs(2);
/// S3 refuses what is signed a quarter of an hour off; gv then goes by its clock.
const SKEW_DOUBTFUL_S: u64 = 60;

pub(super) fn examine<'a>(case: &'a Case, found: &'a mut Findings) -> BoxFuture<'a, ()> {
    async move {
        let url = &case.config.blobs.url;
        let folder = url.strip_prefix("file:").map(|folder| folder.strip_prefix("//").unwrap_or(folder));
        if let Some(folder) = folder.filter(|folder| !Path::new(folder).exists()) {
            return found.skipped(
                "storage",
                format!("the folder {folder} is not there yet: gv makes it at its start"),
            );
        }
        let blobs = match backends::blobs(&case.config) {
            Ok(blobs) => blobs,
            Err(error) => return found.broken("storage", words(&error), remedy(url, &words(&error))),
        };
        let key = Key::probe(rand::random());
        let only_reads = case.role == Some(Role::Edge);
        let stored = AtomicBool::new(false);
        let rehearsed = timeout(REHEARSAL, rehearse(&*blobs, &key, only_reads, &stored)).await;
        let rehearsed = rehearsed.unwrap_or_else(|_| {
            Err(anyhow::anyhow!("the storage did not answer within {} s", REHEARSAL.as_secs()))
        });
        if rehearsed.is_err() && stored.into_inner() {
            // Where even this fails there is nothing to say twice.
            let _ = timeout(DELETING, blobs.delete(&key)).await;
        }
        let shown = without_password(url);
        match rehearsed {
            Ok(()) if only_reads => {
                found.well("storage", format!("{shown}: answers to reads, as an edge needs it"));
            }
            Ok(()) => {
                let done = "an object was stored, read, replaced under a condition and deleted";
                found.well("storage", format!("{shown}: {done}"));
            }
            Err(error) => found.broken("storage", words(&error), remedy(url, &words(&error))),
        }
        if let Some(caution) = blobs.caution() {
            found.doubtful(
                "storage conditions",
                caution,
                "run one api and one worker, or use another storage (docs/storage.md)",
            );
        }
        if let Some(ahead) = blobs.clock_ahead_s() {
            clock(ahead, found);
        }
    }
    .boxed()
}

/// `stored` is set before anything is.
async fn rehearse(blobs: &dyn Blobs, key: &Key, only_reads: bool, stored: &AtomicBool) -> anyhow::Result<()> {
    let (one, two) = (Bytes::from_static(b"gv tries out this storage"), Bytes::from_static(b"and replaces"));
    let get = async || blobs.get(key, 1024).await.map_err(anyhow::Error::from);
    ensure!(
        get().await.context("it cannot be asked for what is absent")?.is_none(),
        "it has what nobody stored"
    );
    if only_reads {
        return Ok(());
    }
    stored.store(true, Ordering::Relaxed);
    blobs.put(key, Body::Bytes(one.clone())).await.context("nothing can be stored")?;
    let there = get().await.context("what was stored cannot be read")?;
    let there = there.context("what was stored is not there")?;
    ensure!(there.bytes == one, "it gives other bytes than were stored");
    let replaced = blobs.replace(key, two.clone(), Some(&there.tag)).await;
    ensure!(replaced.context("nothing can be replaced")?, "it does not replace an object that is as it was");
    let again = blobs.replace(key, one, Some(&there.tag)).await;
    ensure!(!again.context("nothing can be replaced")?, "it replaces an object that is not as it was");
    let replaced = get().await.context("what was replaced cannot be read")?;
    ensure!(replaced.is_some_and(|it| it.bytes == two), "it gives other bytes than were put in their place");
    blobs.delete(key).await.context("nothing can be deleted")?;
    ensure!(
        get().await.context("it cannot be asked for what was deleted")?.is_none(),
        "what was deleted is still there"
    );
    Ok(())
}

fn clock(ahead_s: i64, found: &mut Findings) {
    let detail = format!("the storage's clock is {ahead_s:+} s from this machine's");
    if ahead_s.unsigned_abs() > SKEW_DOUBTFUL_S {
        found.doubtful("storage clock", detail, "keep this machine's clock by NTP (chronyd, timesyncd)");
    } else {
        found.well("storage clock", detail);
    }
}

fn remedy(url: &str, why: &str) -> String {
    if let Some(folder) = url.strip_prefix("file:") {
        return format!(
            "see that the user gv runs as owns {folder} and that its disk has room, or correct blobs.url"
        );
    }
    let bucket =
        url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    if says(why, &["accept the keys"]) {
        "correct blobs.access_key and blobs.secret_key, or the AWS_* variables where those are empty"
            .to_owned()
    } else if says(why, &["nosuchbucket", "create it"]) {
        format!("make the bucket {bucket}, or correct its name in blobs.url; gv makes none")
    } else if says(why, &["may not do this", "accessdenied"]) {
        format!("give the keys of blobs.access_key the rights on {bucket} that docs/storage.md lists")
    } else if says(why, &["is elsewhere"]) {
        "correct region= and endpoint= in blobs.url".to_owned()
    } else if says(why, &["clock"]) {
        "set this machine's clock by NTP (chronyd, timesyncd)".to_owned()
    } else if says(why, UNREACHED) {
        "start the storage, or correct endpoint= in blobs.url, or let this machine through".to_owned()
    } else {
        "look at blobs.url, at docs/storage.md and at the storage's own log".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_goes_by_what_the_storage_said() {
        let url = "s3://sites?endpoint=http://s3.example.com";
        for (why, part) in [
            ("the bucket sites does not exist: create it (404 NoSuchBucket: ...)", "make the bucket sites"),
            (
                "the storage does not accept the keys (403 InvalidAccessKeyId: it does not exist in our records)",
                "blobs.secret_key",
            ),
            ("the keys may not do this in the bucket sites", "docs/storage.md"),
            ("the bucket sites is elsewhere: check region=", "region= and endpoint= in blobs.url"),
            ("the storage cannot be reached or does not answer", "endpoint= in blobs.url"),
        ] {
            assert!(remedy(url, why).contains(part), "{why}: {}", remedy(url, why));
        }
        assert!(remedy("file:/srv/blobs", "no space").contains("/srv/blobs"));
    }
}
