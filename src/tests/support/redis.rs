//! A Redis server of one test's own, to be killed, frozen, filled and emptied.
//! Needs `redis-server`, which `scripts/test` installs.
//!
//! Start with [`RedisServer::start`].

use super::free_port::free_port;
use gv::adapters::cache::redis::Redis;
use gv::ports::cache::Cache;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than a server takes to start on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gone when dropped, with all that it held. It keeps nothing on disk.
pub struct RedisServer {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl RedisServer {
    /// One that answers.
    pub fn start() -> Self {
        let mut server = Self::absent();
        server.run();
        server
    }

    /// One that is not there yet.
    pub fn absent() -> Self {
        let port = free_port();
        Self { port, folder: tempfile::tempdir().unwrap(), process: None }
    }

    /// Starts it, empty, on the port that it has always had.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--port").arg(self.port.to_string()).arg("--dir").arg(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("redis-server is installed"));
        let began = Instant::now();
        while self.ask(&["PING"]).is_none_or(|answer| !answer.starts_with("+PONG")) {
            assert!(began.elapsed() < PATIENCE, "redis-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it: everything it held is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Takes connections from now on, and answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.process.as_ref().expect("it runs")), signal).unwrap();
    }

    /// Forgets all that it holds.
    pub fn empty(&self) {
        assert_eq!(self.command(&["FLUSHALL"]), "+OK\r\n");
    }

    /// Refuses to hold more from now on.
    pub fn fill(&self) {
        assert_eq!(self.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "+OK\r\n");
        assert_eq!(self.command(&["CONFIG", "SET", "maxmemory", "1"]), "+OK\r\n");
    }

    pub fn make_room(&self) {
        assert_eq!(self.command(&["CONFIG", "SET", "maxmemory", "0"]), "+OK\r\n");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it answers to a command, as it stands on the wire.
    pub fn command(&self, words: &[&str]) -> String {
        self.ask(words).expect("it answers")
    }

    fn ask(&self, words: &[&str]) -> Option<String> {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        connection.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        connection.write_all(command.as_bytes()).ok()?;
        let mut answer = vec![0; 64 * 1024];
        let length = connection.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server for tests that `GV_TEST_CACHE_URL` names, with a prefix of this test's own, or else a
/// server of its own; once it answers.
pub async fn connected() -> (Redis, Option<RedisServer>) {
    let (url, server) = match super::services::cache_url() {
        Some(url) => (url, None),
        None => {
            let server = RedisServer::start();
            (server.url(), Some(server))
        }
    };
    let redis = Redis::connect(&url).unwrap();
    redis.cache().ping().await.unwrap();
    (redis, server)
}
