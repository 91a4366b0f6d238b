//! A queue of one test's own on the RabbitMQ that `GV_TEST_QUEUE_URL` names, and a hand that
//! reaches into it beside gv: as a stranger who publishes, or an operator who deletes.
//!
//! Start with [`TestQueue::fresh`].

use crate::support::services;
use amqprs::BasicProperties;
use amqprs::callbacks::{DefaultChannelCallback, DefaultConnectionCallback};
use amqprs::channel::{
    BasicGetArguments, BasicNackArguments, BasicPublishArguments, Channel, QueueDeclareArguments,
    QueueDeleteArguments, QueuePurgeArguments,
};
use amqprs::connection::{Connection, OpenConnectionArguments};
use std::net::SocketAddr;
use url::Url;

/// A queue that nobody has declared yet. It and its dead letters are gone when this is dropped.
pub struct TestQueue {
    pub url: String,
    pub name: String,
}

impl TestQueue {
    pub fn fresh() -> Self {
        let url = services::queue_url().expect("GV_TEST_QUEUE_URL, as scripts/with-services sets it");
        let name = Url::parse(&url).unwrap().query_pairs().find(|(key, _)| key == "queue").unwrap().1.into();
        Self { url, name }
    }

    /// Where the broker itself is, as `host:port`.
    pub fn broker(&self) -> String {
        let url = Url::parse(&self.url).unwrap();
        format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5672))
    }

    /// The same queue by way of a proxy.
    pub fn url_by_way_of(&self, proxy: SocketAddr) -> String {
        let mut url = Url::parse(&self.url).unwrap();
        url.set_host(Some(&proxy.ip().to_string())).unwrap();
        url.set_port(Some(proxy.port())).unwrap();
        url.into()
    }

    pub fn dead_letters(&self) -> String {
        format!("{}.dead", self.name)
    }

    pub async fn hand(&self) -> Hand {
        let url = Url::parse(&self.url).unwrap();
        let (host, port) = (url.host_str().unwrap(), url.port().unwrap_or(5672));
        let password = url.password().unwrap_or("guest");
        let mut arguments = OpenConnectionArguments::new(host, port, url.username(), password);
        let virtual_host = url.path().trim_start_matches('/').replace("%2F", "/");
        if !virtual_host.is_empty() {
            arguments.virtual_host(&virtual_host);
        }
        let connection = Connection::open(&arguments).await.unwrap();
        connection.register_callback(DefaultConnectionCallback).await.unwrap();
        let channel = connection.open_channel(None).await.unwrap();
        channel.register_callback(DefaultChannelCallback).await.unwrap();
        Hand { channel, connection }
    }
}

impl Drop for TestQueue {
    fn drop(&mut self) {
        // A thread of its own, since the test's runtime may be ending.
        std::thread::scope(|scope| {
            let deleted = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let hand = self.hand().await;
                    hand.delete(&self.name).await;
                    hand.delete(&self.dead_letters()).await;
                    hand.connection.close().await.unwrap();
                });
            });
            if deleted.join().is_err() && !std::thread::panicking() {
                panic!("{} could not be deleted", self.name);
            }
        });
    }
}

pub struct Hand {
    channel: Channel,
    connection: Connection,
}

impl Hand {
    pub async fn publish(&self, queue: &str, body: impl Into<Vec<u8>>) {
        let to = BasicPublishArguments::new("", queue);
        self.channel.basic_publish(BasicProperties::default(), body.into(), to).await.unwrap();
    }

    /// A message to be settled.
    pub async fn get(&self, queue: &str) -> Option<(u64, Vec<u8>)> {
        let got = self.channel.basic_get(BasicGetArguments::new(queue)).await.unwrap();
        got.map(|(got, _, body)| (got.delivery_tag(), body))
    }

    pub async fn give_back(&self, tag: u64) {
        self.channel.basic_nack(BasicNackArguments::new(tag, false, true)).await.unwrap();
    }

    /// How many messages are ready in it. It must be there.
    pub async fn waiting(&self, queue: &str) -> u32 {
        let look = QueueDeclareArguments::new(queue).passive(true).finish();
        self.channel.queue_declare(look).await.unwrap().unwrap().1
    }

    /// A queue with nobody's properties.
    pub async fn declare_plain(&self, queue: &str) {
        self.channel.queue_declare(QueueDeclareArguments::durable_client_named(queue)).await.unwrap();
    }

    /// One that is not there is no error.
    pub async fn delete(&self, queue: &str) {
        self.channel.queue_delete(QueueDeleteArguments::new(queue)).await.unwrap();
    }

    pub async fn purge(&self, queue: &str) {
        self.channel
            .queue_purge(QueuePurgeArguments { queue: queue.to_owned(), no_wait: false })
            .await
            .unwrap();
    }
}
