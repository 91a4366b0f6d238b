//! The queue: whether a message goes the whole way, and whether a worker would hear the bell.

use super::{Case, Findings, UNREACHED, says, words};
use crate::config::shown::without_password;
use crate::wiring::backends;
use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

pub(super) fn examine<'a>(case: &'a Case, found: &'a mut Findings) -> BoxFuture<'a, ()> {
    async move {
        let url = case.config.queue.url.expose();
        if url.starts_with("memory:") {
            return found.well("queue", "within one process (memory:)");
        }
        let queue = match backends::queue(&case.config) {
            Ok(queue) => queue,
            Err(error) => return found.broken("queue", words(&error), remedy(url, &words(&error))),
        };
        match queue.rehearse().await.context("it cannot be used") {
            Err(error) => found.broken("queue", words(&error), remedy(url, &words(&error))),
            Ok(rehearsed) => {
                let done = "a queue was declared, a message confirmed and consumed, the queue deleted";
                found.well("queue", format!("{}: {done}", without_password(url)));
                match rehearsed.listeners {
                    Some(0) => found.doubtful(
                        "workers",
                        "nobody listens to the queue: no worker runs, or all of them are busy",
                        "start gv worker with this queue.url; where all are busy, add workers or worker.concurrency",
                    ),
                    Some(count) => found.well("workers", format!("{count} listen to the queue")),
                    None => {}
                }
            }
        }
    }
    .boxed()
}

fn remedy(url: &str, why: &str) -> String {
    let Ok(url) = url::Url::parse(url) else {
        return "correct queue.url: amqp://user:password@host:5672/vhost".to_owned();
    };
    let (host, user) = (url.host_str().unwrap_or_default(), url.username());
    let port = url.port().unwrap_or(if url.scheme() == "amqps" { 5671 } else { 5672 });
    if says(why, &["access_refused", "403"]) {
        format!(
            "let the user in queue.url do everything in its virtual host: \
             rabbitmqctl set_permissions -p VHOST {user} '.*' '.*' '.*'"
        )
    } else if says(why, &["not_allowed", "vhost"]) {
        "make the virtual host (rabbitmqctl add_vhost VHOST), or correct it in queue.url".to_owned()
    } else if says(why, &["user, password"]) {
        format!("correct user and password in queue.url, or make them: rabbitmqctl add_user {user}")
    } else if says(why, &["tls", "certificate"]) {
        "amqps:// in queue.url needs TLS on the broker's side; its root goes into SSL_CERT_FILE".to_owned()
    } else if says(why, UNREACHED) {
        format!(
            "start RabbitMQ, or correct host and port in queue.url (now {host}:{port}), or let this machine through"
        )
    } else {
        format!("look at queue.url (now {host}:{port}) and at RabbitMQ's own log")
    }
}
