//! The cache: whether it holds, gives back and passes on, and what it does when it is full.

use super::{Case, Findings, UNREACHED, says, words};
use crate::config::shown::without_password;
use crate::domain::id::DeploymentId;
use crate::ports::cache::{Cache, Room};
use crate::ports::error::StoreError;
use crate::ports::notices::{Heard, Notice, Notices, Subscription};
use crate::wiring::backends;
use anyhow::Context;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Its connections are made beside this; its deadlines are short, and one may be missed.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(200);
/// For a notice to come back, the subscription included.
const HEARD: Duration = Duration::from_secs(4);
const LIFETIME: Duration = Duration::from_secs(60);

pub(super) fn examine<'a>(case: &'a Case, found: &'a mut Findings) -> BoxFuture<'a, ()> {
    async move {
        let url = case.config.cache.url.expose();
        if url.starts_with("memory:") {
            return found.well("cache", "within one process (memory:)");
        }
        let (cache, _, notices) = match backends::cache(&case.config) {
            Ok(cached) => cached,
            Err(error) => return found.broken("cache", words(&error), remedy(url, &words(&error))),
        };
        let server = match cache.server().await.context("it cannot be used") {
            Ok(server) => server,
            Err(error) => return found.broken("cache", words(&error), remedy(url, &words(&error))),
        };
        match held_and_given_back(&*cache).await {
            Ok(()) => found.well("cache", format!("{} at {}: held, gave back, removed", server.name, without_password(url))),
            Err(error) => found.broken("cache", words(&error), remedy(url, &words(&error))),
        }
        let deployment = DeploymentId::new(case.now(), &mut rand::rng());
        match timeout(HEARD, heard(&*notices, deployment)).await {
            Ok(Ok(())) => found.well("notices", "one was published and heard"),
            Ok(Err(error)) => {
                let error = anyhow::Error::from(error).context("none can be published");
                found.broken("notices", words(&error), remedy(url, &words(&error)));
            }
            Err(_) => found.broken(
                "notices",
                format!("one was published and not heard within {} s", HEARD.as_secs()),
                "let the user in cache.url PUBLISH and SUBSCRIBE to gv's channels (Redis: ACL SETUSER ... &*)",
            ),
        }
        room(server.room, found);
    }
    .boxed()
}

/// Under a key of its own.
async fn held_and_given_back(cache: &dyn Cache) -> anyhow::Result<()> {
    let key = format!("gv-doctor:{:016x}", rand::random::<u64>());
    let value = Bytes::from_static(b"gv tries out this cache");
    let mut last = None;
    for _ in 0..TRIES {
        let tried = async {
            cache.put(&key, value.clone(), LIFETIME).await?;
            let held = cache.get(&key).await?;
            cache.remove(&key).await?;
            Ok::<_, StoreError>(held == Some(value.clone()) && cache.get(&key).await?.is_none())
        };
        match tried.await {
            Ok(true) => return Ok(()),
            Ok(false) => last = Some(anyhow::anyhow!("it did not give back what it was given")),
            Err(error) => last = Some(error.into()),
        }
        sleep(BETWEEN).await;
    }
    // What was put in and not removed goes by itself after its lifetime.
    Err(last.unwrap_or_else(|| anyhow::anyhow!("it was not asked")))
}

/// By word of a deployment that does not exist: nobody else minds it.
async fn heard(notices: &dyn Notices, deployment: DeploymentId) -> Result<(), StoreError> {
    let own = Notice::CancelRequested { deployment };
    let mut subscription: Box<dyn Subscription> = notices.subscribe().await?;
    notices.publish(&own).await?;
    loop {
        match subscription.next().await {
            Heard::Notice(notice) if notice == own => return Ok(()),
            Heard::Notice(_) => {}
            // It hears from here on.
            Heard::Gap => notices.publish(&own).await?,
        }
    }
}

fn room(room: Option<Room>, found: &mut Findings) {
    const CHECK: &str = "cache room";
    const REMEDY: &str =
        "set maxmemory and maxmemory-policy allkeys-lru on the server that cache.url names, which is a cache";
    match room {
        Some(Room::MadeAt(bytes)) => found.well(CHECK, format!("it makes room at {} MiB", bytes >> 20)),
        Some(Room::Unbounded) => {
            found.doubtful(CHECK, "it has no maxmemory: it grows until the machine has no more", REMEDY);
        }
        Some(Room::RefusedAt(bytes)) => found.doubtful(
            CHECK,
            format!("at {} MiB it takes nothing more (maxmemory-policy noeviction)", bytes >> 20),
            REMEDY,
        ),
        None => found.skipped(CHECK, "the server does not tell (INFO is refused)"),
    }
}

fn remedy(url: &str, why: &str) -> String {
    let Ok(url) = url::Url::parse(url) else {
        return "correct cache.url: redis://user:password@host:6379/0".to_owned();
    };
    let place = format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(6379));
    if says(why, &["noauth", "wrongpass", "authentication", "password"]) {
        "correct user and password in cache.url: redis://user:password@host, or redis://:password@host"
            .to_owned()
    } else if says(why, &["noperm"]) {
        "let the user in cache.url do what gv does: ACL SETUSER NAME on >PASSWORD ~gv:* &gv:* +@all"
            .to_owned()
    } else if says(why, &["oom "]) {
        "set maxmemory-policy allkeys-lru on the server that cache.url names: it is full and drops nothing"
            .to_owned()
    } else if says(why, &["readonly"]) {
        "name the primary in cache.url, not a replica".to_owned()
    } else if says(why, &["tls", "certificate"]) {
        "rediss:// in cache.url needs TLS on the server's side; its root goes into SSL_CERT_FILE".to_owned()
    } else if says(why, UNREACHED) || says(why, &["no connection"]) {
        format!(
            "start Redis, or correct host and port in cache.url (now {place}), or let this machine through"
        )
    } else {
        format!("look at cache.url (now {place}) and at the server's own log")
    }
}
