//! What a server says of itself, over a connection of its own: for people who ask why there is none,
//! or what will happen when it is full.

use super::address::Address;
use super::fault::Fault;
use super::session::{self, Session};
use crate::ports::cache::{Room, Server};
use std::time::Duration;

/// For one question to a server that may be slow.
const LIMIT: Duration = Duration::from_secs(2);

pub(super) async fn ask(address: &Address) -> Result<Server, Fault> {
    let session = Session::open(address).await?;
    session.answers().await?;
    // Whoever may not ask this (by an ACL) can do everything else: nothing is concluded.
    let told = match session::call(session.client(), LIMIT, "INFO", Vec::new()).await {
        Ok(value) => session::bytes(value)?.unwrap_or_default(),
        Err(Fault::Server(_)) => return Ok(Server { name: "Redis".to_owned(), room: None }),
        Err(fault) => return Err(fault),
    };
    Ok(read(&String::from_utf8_lossy(&told)))
}

fn read(told: &str) -> Server {
    let field = |name: &str| {
        let lines = told.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| *key == name).map(|(_, value)| value.trim()).next()
    };
    let name = match (field("valkey_version"), field("redis_version")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, Some(version)) => format!("Redis {version}"),
        (None, None) => "Redis".to_owned(),
    };
    let room = field("maxmemory").and_then(|bytes| bytes.parse().ok()).map(|bytes: u64| {
        match (bytes, field("maxmemory_policy")) {
            (0, _) => Room::Unbounded,
            (bytes, Some("noeviction")) => Room::RefusedAt(bytes),
            (bytes, _) => Room::MadeAt(bytes),
        }
    });
    Server { name, room }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_does_when_it_is_full_is_read_from_what_it_says() {
        let said = |maxmemory: &str, policy: &str| {
            read(&format!(
                "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory:{maxmemory}\r\nmaxmemory_policy:{policy}\r\n"
            ))
        };
        assert_eq!(said("0", "noeviction").room, Some(Room::Unbounded));
        assert_eq!(said("0", "allkeys-lru").room, Some(Room::Unbounded));
        assert_eq!(said("1024", "noeviction").room, Some(Room::RefusedAt(1024)));
        assert_eq!(said("1024", "allkeys-lfu").room, Some(Room::MadeAt(1024)));
        assert_eq!(said("0", "x").name, "Redis 7.0.15");
        assert_eq!(read("").room, None);
        assert_eq!(read("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n").name, "Valkey 8.0.1");
    }
}
