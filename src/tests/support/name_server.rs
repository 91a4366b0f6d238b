//! A real name server (BIND) of one test's own, primary for zones in which every name is on loopback, one
//! of which takes dynamic updates. Needs `named`, which `scripts/with-services` installs.
//!
//! Start with [`NameServer::start`].

use super::free_port::free_port;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than a server takes to start on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(20);

const INSTALLED: &str = "/usr/sbin/named";

/// The zone of an operator, which takes updates of the one record that proves it, and that of somebody
/// whose sites are at the operator's.
pub const ZONE: &str = "sites.example";
pub const CUSTOMER: &str = "customer.example";
pub const KEY_NAME: &str = "gv-acme";
pub const KEY: &str = "c2VjcmV0IG9mIHRoZSB6b25lLCBmb3IgdGVzdHMgb25seSE=";

/// Gone when dropped.
pub struct NameServer {
    port: u16,
    process: Child,
    folder: TempDir,
}

impl NameServer {
    /// One that answers.
    pub fn start() -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let config = configuration(folder.path(), port);
        std::fs::write(folder.path().join("named.conf"), config).unwrap();
        for zone in [ZONE, CUSTOMER] {
            let records =
                "$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\n@ A 127.0.0.1\n* A 127.0.0.1\n";
            std::fs::write(folder.path().join(zone), format!("{records}ns A 127.0.0.1\n")).unwrap();
        }
        // A copy of its own: where AppArmor holds the installed one, that may not read this folder.
        let program = folder.path().join("named");
        std::fs::copy(INSTALLED, &program).expect("named is installed: scripts/with-services does it");
        let mut command = Command::new(program);
        command.arg("-g").arg("-c").arg(folder.path().join("named.conf"));
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().unwrap();
        let server = Self { port, process, folder };
        let began = Instant::now();
        // It answers before it has read its zones: then it has no answer.
        let has = |zone| server.ask(zone, RecordType::SOA).is_some_and(|answer| !answer.answers.is_empty());
        while ![ZONE, CUSTOMER].into_iter().all(has) {
            assert!(began.elapsed() < PATIENCE, "named does not start:\n{}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All TXT records of a name.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let answer = self.ask(name, RecordType::TXT).expect("it answers");
        let texts = answer.answers.iter().filter_map(|record| match &record.data {
            RData::TXT(text) => Some(text.to_string()),
            _ => None,
        });
        let mut texts: Vec<String> = texts.collect();
        texts.sort();
        texts
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn ask(&self, name: &str, kind: RecordType) -> Option<Message> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind));
        socket.send(&question.to_vec().unwrap()).ok()?;
        let mut answer = [0; 4096];
        let len = socket.recv(&mut answer).ok()?;
        Message::from_vec(&answer[..len]).ok()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        r#"options {{
  directory "{folder}"; pid-file none; session-keyfile none;
  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; allow-transfer {{ none; }};
}};
controls {{ }};
key "{KEY_NAME}" {{ algorithm hmac-sha256; secret "{KEY}"; }};
zone "{ZONE}" {{
  type primary; file "{folder}/{ZONE}";
  update-policy {{ grant {KEY_NAME} name _acme-challenge.{ZONE}. TXT; }};
}};
zone "{CUSTOMER}" {{ type primary; file "{folder}/{CUSTOMER}"; }};
"#
    )
}
