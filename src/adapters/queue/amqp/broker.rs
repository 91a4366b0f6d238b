//! Where a broker is, how it is entered, and which of its queues is ours: what the URL says.
//!
//! By the RabbitMQ URI specification (<https://www.rabbitmq.com/docs/uri-spec>), with one query
//! parameter of our own. Start with [`Broker::parse`].

use crate::adapters::tls;
use crate::ports::error::{StoreError, StoreErrorKind};
use amqprs::connection::OpenConnectionArguments;
use amqprs::security::SecurityCredentials;
use amqprs::tls::TlsAdaptor;
use percent_encoding::percent_decode_str;
use std::sync::Arc;
use url::Url;

const DEFAULT_QUEUE: &str = "gv-deployments";
/// Twice this without a sign of life, and a connection counts as lost. RabbitMQ advises against
/// less than 5 s: <https://www.rabbitmq.com/docs/heartbeats>.
const HEARTBEAT_S: u16 = 10;
/// The broker's limit is 255 bytes; the dead-letter queue's name is longer than the queue's.
const QUEUE_NAME_MAX: usize = 200;
const VHOST_MAX: usize = 255;

pub(super) struct Broker {
    arguments: OpenConnectionArguments,
    pub(super) queue: String,
}

impl Broker {
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let url = Url::parse(text).map_err(|_| {
            invalid(
                "is no URL such as amqp://user:password@host:5672/vhost; signs such as # / @ in a \
                 password are written %23 %2F %40",
            )
        })?;
        let secure = match url.scheme() {
            "amqp" => false,
            "amqps" => true,
            _ => return Err(invalid("must begin with amqp:// or amqps://")),
        };
        if url.fragment().is_some() {
            return Err(invalid("has a #: in a password write %23"));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| invalid("names no host: amqp://user:password@host:5672/vhost"))?;
        let port = url.port().unwrap_or(if secure { 5671 } else { 5672 });
        let (user, password) = credentials(&url)?;
        let mut arguments = OpenConnectionArguments::new(host, port, "", "");
        arguments
            .credentials(SecurityCredentials::new_plain(&user, &password))
            .virtual_host(&virtual_host(&url)?)
            .heartbeat(HEARTBEAT_S);
        if secure {
            let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let config = tls::client_config().map_err(|how| invalid(&how))?;
            arguments.tls_adaptor(TlsAdaptor::new(Arc::new(config).into(), name));
        }
        Ok(Self { arguments, queue: queue_name(&url)? })
    }

    /// How to open a connection that says what it is for, to whoever looks at the broker.
    pub(super) fn arguments(&self, purpose: &str) -> OpenConnectionArguments {
        self.arguments.clone().connection_name(&format!("gv {purpose}")).finish()
    }
}

/// As RabbitMQ is shipped, `guest` may enter from its own machine.
fn credentials(url: &Url) -> Result<(String, String), StoreError> {
    match (url.username(), url.password()) {
        ("", None) => Ok(("guest".to_owned(), "guest".to_owned())),
        (user, password) => Ok((decoded(user)?, decoded(password.unwrap_or_default())?)),
    }
}

fn virtual_host(url: &Url) -> Result<String, StoreError> {
    let path = url.path().strip_prefix('/').unwrap_or_default();
    if path.contains('/') {
        return Err(invalid("has a / within its virtual host: write %2F"));
    }
    match decoded(path)? {
        name if name.is_empty() => Ok("/".to_owned()),
        name if name.len() <= VHOST_MAX => Ok(name),
        _ => Err(invalid("has a virtual host whose name is too long")),
    }
}

fn queue_name(url: &Url) -> Result<String, StoreError> {
    let mut name = None;
    for (key, value) in url.query_pairs() {
        if key != "queue" || name.is_some() {
            return Err(invalid("has a parameter that is not known: only one ?queue=NAME may be there"));
        }
        name = Some(value.into_owned());
    }
    let name = name.unwrap_or_else(|| DEFAULT_QUEUE.to_owned());
    let usual = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let fits = (1..=QUEUE_NAME_MAX).contains(&name.len()) && name.chars().all(usual);
    if !fits || name.starts_with("amq.") {
        return Err(invalid(
            "has a bad queue name: 1 to 200 letters, digits, - _ . and :, and not amq. at the beginning",
        ));
    }
    Ok(name)
}

fn decoded(text: &str) -> Result<String, StoreError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| invalid("has a part that is not UTF-8 after %-decoding"))
}

/// A URL that is wrong, and how. The URL itself may hold a password and is not shown.
fn invalid(how: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Internal, "reading the queue's URL", format!("it {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_what() {
        let broker = Broker::parse("amqp://ada:p%40ss@mq.example.com:5673/builds%2F1?queue=q.1").unwrap();
        let arguments = broker.arguments("testing");
        assert_eq!((arguments.get_host(), arguments.get_port()), ("mq.example.com", 5673));
        assert_eq!(arguments.get_virtual_host(), "builds/1");
        assert!(*arguments.get_credentials() == SecurityCredentials::new_plain("ada", "p@ss"));
        assert!(arguments.get_tls_adaptor().is_none());
        assert_eq!(broker.queue, "q.1");
    }

    #[test]
    fn what_a_url_leaves_out_is_as_rabbitmq_is_shipped() {
        for url in ["amqp://localhost", "amqp://localhost/", "amqp://guest:guest@localhost:5672/%2F"] {
            let broker = Broker::parse(url).unwrap();
            let arguments = broker.arguments("testing");
            assert_eq!((arguments.get_port(), arguments.get_virtual_host()), (5672, "/"));
            assert!(*arguments.get_credentials() == SecurityCredentials::new_plain("guest", "guest"));
            assert_eq!(broker.queue, DEFAULT_QUEUE);
        }
        let broker = Broker::parse("amqp://[::1]").unwrap();
        assert_eq!(broker.arguments("testing").get_host(), "[::1]");
    }

    #[test]
    fn a_secure_url_verifies_the_broker() {
        let broker = Broker::parse("amqps://ada:hunter2@mq.example.com").unwrap();
        let arguments = broker.arguments("testing");
        assert!(arguments.get_tls_adaptor().is_some());
        assert_eq!(arguments.get_port(), 5671);
    }

    #[test]
    fn a_url_that_is_not_understood_is_refused_and_not_repeated() {
        let long = format!("amqp://ada:hunter2@mq/{}", "v".repeat(256));
        for (bad, how) in [
            ("http://ada:hunter2@mq", "amqp://"),
            ("amqp://ada:hunter2@mq:port", "no URL"),
            ("amqp://ada:hunter2/@mq", "no URL"),
            ("amqp:///hunter2", "no host"),
            ("amqp://ada:hunter2@mq/a/b", "%2F"),
            ("amqp://ada:hunter2@mq/#q", "%23"),
            ("amqp://ada:hunter2@mq/?queue=", "queue name"),
            ("amqp://ada:hunter2@mq/?queue=amq.hunter2", "queue name"),
            ("amqp://ada:hunter2@mq/?queue=hunter2%20x", "queue name"),
            ("amqp://ada:hunter2@mq/?queue=a&queue=b", "?queue=NAME"),
            ("amqp://ada:hunter2@mq/?heartbeat=hunter2", "?queue=NAME"),
            ("amqp://ada:%FFhunter2@mq/", "UTF-8"),
            (long.as_str(), "too long"),
        ] {
            let error = Broker::parse(bad).err().expect(bad);
            let text = format!("{error} {error:?}");
            assert!(text.contains(how), "{bad}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
