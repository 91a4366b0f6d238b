//! The two queues and their properties. Declared by whoever connects: nobody has to prepare a broker.
//!
//! `NAME` is the bell; `NAME.dead` keeps for a while what was no announcement, or came back too
//! often. Both are quorum queues: the loss of a node loses nothing. Messages go through the
//! default exchange, which leads to a queue by its name and needs no binding.

use super::link::{Fault, step};
use amqprs::channel::{Channel, QueueDeclareArguments};
use amqprs::{FieldTable, FieldValue};

/// Announcements that wait. One that finds no room is refused, not swapped for an older one: its
/// row waits, and the sweeper rings again for it when there is room.
const WAITING_MAX: i64 = 10_000;
/// How often one announcement may come back. A worker without its database gives one back twice a
/// second: this is a minute, after which the sweeper's next one takes its place.
const RETURNS_MAX: i64 = 100;
const DEAD_MAX: i64 = 1_000;
const DEAD_MAX_BYTES: i64 = 16 << 20;
const DEAD_FOR_MS: i64 = 7 * 24 * 3_600 * 1_000;

pub(super) async fn declare(channel: &Channel, queue: &str) -> Result<(), Fault> {
    let dead = format!("{queue}.dead");
    let kept = [
        ("x-max-length", FieldValue::l(DEAD_MAX)),
        ("x-max-length-bytes", FieldValue::l(DEAD_MAX_BYTES)),
        ("x-overflow", text("drop-head")),
        ("x-message-ttl", FieldValue::l(DEAD_FOR_MS)),
    ];
    step("declaring the dead-letter queue", channel.queue_declare(quorum(&dead, kept)?)).await?;
    let waiting = [
        ("x-max-length", FieldValue::l(WAITING_MAX)),
        ("x-overflow", text("reject-publish")),
        ("x-delivery-limit", FieldValue::l(RETURNS_MAX)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(&dead)),
    ];
    step("declaring the queue", channel.queue_declare(quorum(queue, waiting)?)).await?;
    Ok(())
}

/// How many messages wait in the queue, whoever made it. Where there is none, that is a fault,
/// and the broker closes the channel.
pub(super) async fn waiting(channel: &Channel, queue: &str) -> Result<u32, Fault> {
    look(channel, queue).await.map(|(messages, _)| messages)
}

/// How many listen to it. As [`waiting`] else.
pub(super) async fn listeners(channel: &Channel, queue: &str) -> Result<u32, Fault> {
    look(channel, queue).await.map(|(_, consumers)| consumers)
}

async fn look(channel: &Channel, queue: &str) -> Result<(u32, u32), Fault> {
    let arguments = QueueDeclareArguments::new(queue).passive(true).finish();
    let found = step("looking at the queue", channel.queue_declare(arguments)).await?;
    Ok(found.map_or((0, 0), |(_, messages, consumers)| (messages, consumers)))
}

fn quorum<const N: usize>(
    name: &str,
    properties: [(&str, FieldValue); N],
) -> Result<QueueDeclareArguments, Fault> {
    let mut table = FieldTable::new();
    for (key, value) in properties.into_iter().chain([("x-queue-type", text("quorum"))]) {
        table.insert(key.try_into().map_err(Fault::new)?, value);
    }
    Ok(QueueDeclareArguments::durable_client_named(name).arguments(table).finish())
}

/// Short enough for its field, whose length is 32 bits.
fn text(text: &str) -> FieldValue {
    FieldValue::from(text)
}
