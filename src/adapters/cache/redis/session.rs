//! One connection to the server, from its opening to its end. It never connects again: whoever
//! holds it opens another (see [`super::link`] and [`super::subscriber`]).
//!
//! `fred` could reconnect by itself, and is told not to: its own way sends commands again that may
//! have worked, hangs for ever in a write to a frozen server, and ends for good when its bounded
//! queue is full at the wrong moment. A connection that is silent is dropped here with all that
//! waits in it.

use super::address::Address;
use super::fault::Fault;
use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::config::{ConnectionConfig, Options, PerformanceConfig, TcpConfig};
use fred::types::{ClusterHash, CustomCommand, Value};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

/// For connecting, the TLS handshake included, and then for greeting the server.
const GREETING: Duration = Duration::from_secs(2);
/// A connection is asked for a sign of life so often, and has so long to give it: together they are
/// how long a silent server goes unnoticed.
const ASK_EVERY: Duration = Duration::from_secs(1);
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// Messages of channels that may wait to be taken.
const MESSAGES: usize = 1024;

pub(super) struct Session {
    client: Client,
    /// What reads and writes; dropped, it takes the connection with it.
    task: AbortOnDropHandle<Result<(), Error>>,
}

impl Session {
    pub(super) async fn open(address: &Address) -> Result<Self, Fault> {
        let connection = ConnectionConfig {
            connection_timeout: GREETING,
            internal_command_timeout: GREETING,
            max_command_attempts: 1,
            // Its bound miscounts what it refuses, and then keeps commands back. Ours is in `link`.
            max_command_buffer_len: 0,
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        let performance =
            PerformanceConfig { broadcast_channel_capacity: MESSAGES, ..PerformanceConfig::default() };
        let client = Client::new(address.config.clone(), Some(performance), Some(connection), None);
        // Held from the start: given up half-way, it would go on by itself and keep its connection.
        let mut task = AbortOnDropHandle::new(client.connect());
        let connecting = async {
            tokio::select! {
                biased;
                ended = &mut task => match ended {
                    Ok(Err(error)) => Err(Fault::Server(error)),
                    Ok(Ok(())) | Err(_) => Err(Fault::Away),
                },
                connected = client.wait_for_connect() => connected.map_err(Fault::Server),
            }
        };
        // Twice: it bounds both parts itself, and only a fault of its own takes longer.
        match timeout(GREETING * 2, connecting).await {
            Ok(Ok(())) => Ok(Self { client, task }),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(Fault::Slow(GREETING * 2)),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns when the connection is lost or silent, with the reason.
    pub(super) async fn lost(&mut self) -> Fault {
        loop {
            tokio::select! {
                ended = &mut self.task => return match ended {
                    Ok(Err(error)) => Fault::Server(error),
                    Ok(Ok(())) | Err(_) => Fault::Away,
                },
                () = sleep(ASK_EVERY) => {}
            }
            if let Err(fault) = self.answers().await {
                return fault;
            }
        }
    }

    /// Whether the server has come to the end of all that it was sent so far.
    pub(super) async fn answers(&self) -> Result<(), Fault> {
        call(&self.client, SIGN_OF_LIFE, "PING", Vec::new()).await.map(|_| ())
    }
}

/// Sends a command, once, and waits for its answer.
pub(super) async fn call(
    client: &Client,
    limit: Duration,
    command: &'static str,
    arguments: Vec<Value>,
) -> Result<Value, Fault> {
    let options = Options { timeout: Some(limit), max_attempts: Some(1), ..Options::default() };
    let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
    // Not only by fred's own timeout, which passes over what happens before a command is queued.
    let calling = client.with_options(&options);
    let began = Instant::now();
    let answer =
        timeout(limit + Duration::from_millis(5), calling.custom::<Value, Value>(command, arguments)).await;
    let result = match &answer {
        Ok(Ok(_)) => "ok",
        Ok(Err(error)) if *error.kind() != fred::error::ErrorKind::Timeout => "error",
        _ => "slow",
    };
    metrics::histogram!("gv_cache_seconds", "result" => result).record(began.elapsed().as_secs_f64());
    match answer {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if *error.kind() == fred::error::ErrorKind::Timeout => Err(Fault::Slow(limit)),
        Ok(Err(error)) => Err(Fault::Server(error)),
        Err(_) => Err(Fault::Slow(limit)),
    }
}

/// The bytes of an answer that is a string; `None`: the server has nothing.
pub(super) fn bytes(value: Value) -> Result<Option<Bytes>, Fault> {
    match value {
        Value::Null => Ok(None),
        Value::Bytes(bytes) => Ok(Some(bytes)),
        Value::String(text) => Ok(Some(text.into_inner())),
        _ => Err(Fault::Form("no bytes")),
    }
}

/// The parts of an answer that is a list.
pub(super) fn list(value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(Fault::Form("no list")),
    }
}

/// An argument. Takes what bytes can be made of without a copy, where it can.
pub(super) fn argument(bytes: impl Into<Bytes>) -> Value {
    Value::Bytes(bytes.into())
}
