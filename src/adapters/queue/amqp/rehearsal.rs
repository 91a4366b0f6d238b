//! What gv does with a queue, done once with a queue that the broker names, that this connection has
//! to itself, and that goes with it whatever happens. Start with [`rehearse`].

use super::broker::Broker;
use super::link::{Event, Fault, Link, STEP, step};
use amqprs::BasicProperties;
use amqprs::channel::{
    BasicGetArguments, BasicPublishArguments, ConfirmSelectArguments, QueueDeclareArguments,
    QueueDeleteArguments,
};

const MESSAGE: &[u8] = b"gv tries out this broker";

/// Connects, and declares gv's own queues as every process does. Returns how many listen to them.
pub(super) async fn rehearse(broker: &Broker) -> Result<u32, Fault> {
    let mut link = Link::open(broker, "rehearsing").await?;
    let rehearsed = async {
        exchange(&mut link).await?;
        link.listeners(&broker.queue).await
    };
    match rehearsed.await {
        Ok(listeners) => {
            link.close().await;
            Ok(listeners)
        }
        // After a step that failed nothing more is asked over this connection: it is dropped.
        Err(fault) => Err(link.because(fault)),
    }
}

async fn exchange(link: &mut Link) -> Result<(), Fault> {
    let channel = link.channel.clone();
    let own = channel.queue_declare(QueueDeclareArguments::exclusive_server_named());
    let declared = step("declaring a queue", own).await?;
    let (name, ..) = declared.ok_or_else(|| Fault::new("the broker named no queue"))?;
    let confirm = channel.confirm_select(ConfirmSelectArguments::default());
    step("asking for confirmations", confirm).await?;
    let to = BasicPublishArguments::new("", &name).mandatory(true).finish();
    let publish = channel.basic_publish(BasicProperties::default(), MESSAGE.to_vec(), to);
    step("publishing", publish).await?;
    match tokio::time::timeout(STEP, link.events.recv()).await {
        Ok(Some(Event::Confirmed { .. })) => {}
        Ok(Some(Event::Refused { .. })) => return Err(Fault::new("the broker does not take a message")),
        Ok(Some(Event::Returned { .. })) => return Err(Fault::new("the broker has lost a queue at once")),
        Ok(None) => return Err(link.end()),
        Err(_) => {
            return Err(Fault::new(format!("a message is not confirmed within {} s", STEP.as_secs())));
        }
    }
    let take = BasicGetArguments::new(&name).no_ack(true).finish();
    let got = step("consuming", channel.basic_get(take)).await?;
    if got.is_none_or(|(_, _, body)| body != MESSAGE) {
        return Err(Fault::new("a message that the broker confirmed did not come back"));
    }
    step("deleting a queue", channel.queue_delete(QueueDeleteArguments::new(&name))).await?;
    Ok(())
}
