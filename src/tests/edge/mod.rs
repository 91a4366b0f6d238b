//! The edge alone, over HTTP on a real port, above the embedded stores. `sites`: what a visitor
//! gets. `http`, `hostile_requests`: the sections of the specification of these names. `routing`: what
//! the site's rules make of a request. `front`: connections. `layers`, `disk`: how often storage is
//! asked, and what happens when it fails. `skew`: what outlives its deployment. `log`: what operators
//! see. `tls`: the same by TLS. `certificates`: what it shows of those that it gets itself. `http2`: the same by
//! HTTP/2. `https`: from one to the other. `first_visit`: the end of a trace. Here: the running edge that they
//! share.

mod certificates;
mod disk;
mod first_visit;
mod front;
mod hostile_requests;
mod http;
mod http2;
mod https;
mod layers;
mod line;
mod log;
mod routing;
mod sites;
mod skew;
mod tls;

use gv::adapters::acme::{AcmeAuthority, AcmeSettings};
use gv::adapters::blobs::filesystem::FilesystemBlobs;
use gv::adapters::cache::local::LocalCache;
use gv::adapters::cache::local_notices::LocalNotices;
use gv::adapters::clock::SystemClock;
use gv::domain::coding::Coding;
use gv::domain::digest::Digest;
use gv::domain::host::{HostKind, Hostname, Pointer, PointerTarget};
use gv::domain::id::{DeploymentId, ProjectId, UserId};
use gv::domain::manifest::{Coded, Codings, FileTable, Manifest, NewEntry, SitePath};
use gv::domain::routing::rules::Rules;
use gv::edge::{EdgePorts, EdgeSettings, serve};
use gv::ports::blobs::{Blobs, Body, Key};
use gv::ports::notices::{Notice, Notices};
use gv::ports::traces::Tracer;
use gv::tls::certificates::{CertificatePorts, CertificateSettings, Certificates};
use gv::tls::files::Certificate;
use gv::tls::https::Elsewhere;
use gv::tls::listeners::{Listeners, TlsListener};
use line::Line;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const HOUR: Duration = Duration::from_secs(3600);

/// What an edge has for those who come by TLS, beside its settings.
#[derive(Default)]
struct Secured {
    files: Option<Arc<Certificate>>,
    /// It is to get them itself.
    certificates: Option<CertificateSettings>,
    /// Where those who come without are sent.
    elsewhere: Option<Elsewhere>,
}

/// An edge that serves, and the stores below it.
struct Running {
    address: SocketAddr,
    blobs: Arc<Line>,
    cache: Arc<LocalCache>,
    notices: Arc<LocalNotices>,
    stop: CancellationToken,
    serving: JoinHandle<anyhow::Result<()>>,
    folder: tempfile::TempDir,
    tls_address: Option<SocketAddr>,
}

impl Running {
    async fn start() -> Self {
        Self::with(64 * 1024 * 1024, HOUR).await
    }

    async fn with(memory_bytes: u64, pointer_ttl: Duration) -> Self {
        Self::with_settings(EdgeSettings { memory_bytes, pointer_ttl, ..EdgeSettings::default() }).await
    }

    async fn with_settings(settings: EdgeSettings) -> Self {
        Self::above(tempfile::tempdir().unwrap(), settings).await
    }

    /// An edge above what another one left in storage.
    async fn above(folder: tempfile::TempDir, settings: EdgeSettings) -> Self {
        Self::traced(folder, settings, Tracer::new(None, Arc::new(SystemClock))).await
    }

    async fn with_tls(settings: EdgeSettings, secured: Secured) -> Self {
        let tracer = Tracer::new(None, Arc::new(SystemClock));
        Self::with_all(tempfile::tempdir().unwrap(), settings, tracer, secured).await
    }

    async fn traced(folder: tempfile::TempDir, settings: EdgeSettings, tracer: Tracer) -> Self {
        Self::with_all(folder, settings, tracer, Secured::default()).await
    }

    async fn with_all(
        folder: tempfile::TempDir,
        settings: EdgeSettings,
        tracer: Tracer,
        Secured { files, certificates, elsewhere }: Secured,
    ) -> Self {
        let blobs = Arc::new(Line::to(FilesystemBlobs::open(folder.path()).unwrap()));
        let cache = Arc::new(LocalCache::new(16 * 1024 * 1024));
        let notices = Arc::new(LocalNotices::new());
        let ports = EdgePorts {
            cache: cache.clone(),
            notices: notices.clone(),
            blobs: blobs.clone(),
            clock: Arc::new(SystemClock),
            tracer,
            certificates: certificates.map(|settings| authority_out_of_reach(blobs.clone(), settings)),
        };
        let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
        let has_tls = files.is_some() || ports.certificates.is_some();
        let tls = has_tls.then(|| TlsListener { socket: listener(), files });
        let listeners = Listeners { plain: listener(), elsewhere, tls };
        let address = listeners.plain.local_addr().unwrap();
        let tls_address = listeners.tls_address().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(ports, settings, listeners, stop.clone()));
        Self { address, blobs, cache, notices, stop, serving, folder, tls_address }
    }

    /// Ends the edge and leaves its storage.
    async fn end(self) -> tempfile::TempDir {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
        self.folder
    }

    /// Stores a site and points the host at it, as a worker would, without telling anybody.
    async fn publish(&self, pointer: (&str, i64, HostKind), files: &[(&str, &[u8])]) -> Manifest {
        self.publish_with(pointer, files, &Rules::default()).await
    }

    async fn publish_with(
        &self,
        pointer: (&str, i64, HostKind),
        files: &[(&str, &[u8])],
        rules: &Rules,
    ) -> Manifest {
        let mut rng = rand::rng();
        let now = OffsetDateTime::UNIX_EPOCH;
        let account = UserId::new(now, &mut rng);
        let entry = |(name, bytes): &(&str, &[u8])| {
            let media_type = match name.rsplit('.').next() {
                Some("html") => "text/html; charset=utf-8",
                Some("js") => "text/javascript; charset=utf-8",
                _ => "application/octet-stream",
            };
            let entry = NewEntry {
                digest: Digest::of(bytes),
                size: bytes.len() as u64,
                media_type: media_type.to_owned(),
                codings: Codings::default(),
            };
            (SitePath::parse(name).unwrap(), entry)
        };
        let manifest = Manifest {
            deployment: DeploymentId::new(now, &mut rng),
            account,
            project: ProjectId::new(now, &mut rng),
            spa_fallback: None,
            rules: rules.clone(),
            files: FileTable::build(files.iter().map(entry)).unwrap(),
        };
        for (_, bytes) in files {
            let key = Key::blob(account, &Digest::of(bytes));
            self.store(&key, bytes).await;
        }
        self.store(&Key::manifest(manifest.deployment), &manifest.encode()).await;
        let pointer = pointer_to(pointer, &manifest);
        self.store(&Key::host(&pointer.host), &serde_json::to_vec(&pointer).unwrap()).await;
        manifest
    }

    async fn publish_files(&self, files: &[(&str, &[u8])]) -> Manifest {
        self.publish(("blog.localhost", 1, HostKind::Production), files).await
    }

    /// A site whose pages are kept in codings too, with whatever bytes.
    async fn publish_coded(&self, files: &[(&str, &[u8])], codings: &[(Coding, &[u8])]) -> Manifest {
        let plain = self.publish_files(files).await;
        let kept = codings
            .iter()
            .fold(Codings::default(), |kept, (coding, bytes)| kept.with(*coding, Coded::of(bytes).unwrap()));
        let mut entries = Vec::new();
        for (path, entry) in plain.files.iter() {
            let is_page = path.ends_with(".html");
            let new = NewEntry {
                digest: entry.digest,
                size: entry.size,
                media_type: entry.media_type.to_owned(),
                codings: if is_page { kept } else { Codings::default() },
            };
            entries.push((SitePath::parse(path).unwrap(), new));
            for (coding, bytes) in codings.iter().filter(|_| is_page) {
                let check = kept.get(*coding).unwrap().check;
                self.store(&Key::coded(plain.account, &entry.digest, &check, *coding), bytes).await;
            }
        }
        let manifest = Manifest { files: FileTable::build(entries).unwrap(), ..plain };
        self.store(&Key::manifest(manifest.deployment), &manifest.encode()).await;
        manifest
    }

    async fn remove(&self, key: &Key) {
        self.blobs.delete(key).await.unwrap();
    }

    /// The fields of an answer that memory has.
    async fn warm_fields(&self, path: &str, codings: &str) -> Vec<(String, String)> {
        let codings = format!("Accept-Encoding: {codings}");
        self.ask("GET", path, &[&codings]).await;
        self.ask("GET", path, &[&codings]).await.lasting_fields()
    }

    async fn store(&self, key: &Key, bytes: &[u8]) {
        self.blobs.put(key, Body::Bytes(bytes.to_vec().into())).await.unwrap();
    }

    async fn tell(&self, pointer: (&str, i64, HostKind), manifest: &Manifest) {
        self.notices.publish(&Notice::HostMoved { pointer: pointer_to(pointer, manifest) }).await.unwrap();
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }

    /// A request to `blog.localhost`.
    async fn ask(&self, method: &str, path: &str, fields: &[&str]) -> Answer {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: blog.localhost\r\n{fields}Connection: close\r\n\r\n");
        self.send(head.as_bytes()).await
    }

    async fn host(&self, host: &str) -> Answer {
        self.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await
    }

    /// Sends what is given and reads to the end.
    async fn send(&self, bytes: &[u8]) -> Answer {
        Answer::parse(&self.exchange(bytes).await)
    }

    async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        // The edge may refuse before it has read all.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer));
        let _ = read.await.expect("the edge neither answers nor closes");
        answer
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Nobody listens there.
fn authority_out_of_reach(blobs: Arc<Line>, settings: CertificateSettings) -> Arc<Certificates> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = "https://127.0.0.1:1/directory".to_owned();
    let acme = AcmeSettings { directory, email: None, root_ca: None, external_account: None };
    let ports = CertificatePorts {
        authority: Arc::new(AcmeAuthority::connect(acme).unwrap()),
        dns: None,
        secrets: crate::support::database::keys(),
        blobs,
        clock: Arc::new(SystemClock),
    };
    Arc::new(Certificates::new(ports, settings, tokio::runtime::Handle::current()))
}

fn pointer_to((host, version, kind): (&str, i64, HostKind), manifest: &Manifest) -> Pointer {
    let target = PointerTarget {
        account: manifest.account,
        project: manifest.project,
        deployment: manifest.deployment,
    };
    Pointer {
        version,
        host: Hostname::parse(host).unwrap(),
        kind,
        target: Some(target),
        earlier: Vec::new(),
        trace: None,
        published_at: None,
    }
}

#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer with a head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            (name.to_ascii_lowercase(), value.to_owned())
        };
        Self { status, fields: lines.map(field).collect(), body: bytes[end + 4..].to_vec() }
    }

    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// All fields but the date, sorted.
    fn lasting_fields(&self) -> Vec<(String, String)> {
        let mut fields = self.fields.clone();
        fields.retain(|(name, _)| name != "date");
        fields.sort();
        fields
    }
}

/// Bytes that no compression or repetition makes alike.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
