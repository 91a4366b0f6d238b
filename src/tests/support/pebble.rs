//! A real certificate authority (Pebble) of one test's own, which looks names up at the name server that
//! it is told, and for proofs at the ports that it is told. Needs `pebble`, which `scripts/with-services`
//! installs.
//!
//! Start with [`Pebble::start`].

use super::free_port::free_port;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the authority is told.
pub struct World {
    /// Of the name server.
    pub dns: String,
    /// Where proofs of hosts are looked for.
    pub http_port: u16,
    pub tls_port: u16,
    /// How long certificates hold.
    pub life: Duration,
}

/// Gone when dropped, with all that it knew.
pub struct Pebble {
    port: u16,
    process: Child,
    folder: TempDir,
    /// The root of the certificates that it gives.
    pub root: reqwest::Certificate,
}

impl Pebble {
    /// One that answers.
    pub async fn start(world: &World) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("own.pem"), own.cert.pem()).unwrap();
        std::fs::write(path("own.key"), own.signing_key.serialize_pem()).unwrap();
        let (port, management) = (free_port(), free_port());
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": path("own.pem"),
            "privateKey": path("own.key"),
            "httpPort": world.http_port,
            "tlsPort": world.tls_port,
            "certificateValidityPeriod": world.life.as_secs(),
        }});
        std::fs::write(path("pebble.json"), config.to_string()).unwrap();
        let mut command = Command::new("pebble");
        command.arg("-config").arg(path("pebble.json")).arg("-dnsserver").arg(&world.dns);
        // It looks at once, and at every name anew.
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        let log = std::fs::File::create(path("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().expect("pebble is installed: scripts/with-services does it");
        let trusted = reqwest::Certificate::from_pem(own.cert.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([trusted]).build().unwrap();
        let began = Instant::now();
        let root = loop {
            let asked = client.get(format!("https://localhost:{management}/roots/0")).send().await;
            if let Ok(answer) = asked {
                break reqwest::Certificate::from_pem(&answer.bytes().await.unwrap()).unwrap();
            }
            assert!(began.elapsed() < PATIENCE, "pebble does not start:\n{}", read(&path("log")));
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self { port, process, folder, root }
    }

    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// What its directory's own certificate leads to.
    pub fn root_of_directory(&self) -> PathBuf {
        self.folder.path().join("own.pem")
    }

    pub fn log(&self) -> String {
        read(&self.folder.path().join("log"))
    }

    /// How many certificates it has given.
    pub fn issued(&self) -> usize {
        self.log().matches("Issued certificate serial").count()
    }

    /// How many orders it was given.
    pub fn ordered(&self) -> usize {
        self.log().matches(" orders in the db").count()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
