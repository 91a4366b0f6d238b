//! Serves one repository read-only over HTTP, by version 2 of Git's smart protocol
//! (gitprotocol-v2(5), gitprotocol-http(5)): `git clone` and gv can clone from it, once each
//! request asks for the whole of the one commit that there is.

use super::SITE;
use super::repository::Repository;
use crate::domain::address::AllowedHost;
use crate::domain::text::Invalid;
use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;
use std::net::{SocketAddr, TcpListener};
use time::OffsetDateTime;

/// A Git server that runs until it is dropped.
pub struct DemoServer {
    address: SocketAddr,
    running: tokio::task::AbortHandle,
}

/// What one packet line of a side band carries at most, its band's byte included.
const BAND: usize = 65_515;
const FLUSH: &str = "0000";
const DELIMITER: &str = "0001";

impl DemoServer {
    /// Starts on a free port of loopback, with the sample site as committed at `now`.
    pub fn start(now: OffsetDateTime) -> anyhow::Result<Self> {
        let repository = Data::new(Repository::of(SITE, now.unix_timestamp(), "A first site")?);
        let listener = TcpListener::bind("127.0.0.1:0").context("the demo's Git server")?;
        let address = listener.local_addr()?;
        let server = HttpServer::new(move || {
            App::new()
                .app_data(repository.clone())
                .route("/demo.git/info/refs", web::get().to(advertise))
                .route("/demo.git/git-upload-pack", web::post().to(upload_pack))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)?
        .run();
        Ok(Self { address, running: tokio::spawn(server).abort_handle() })
    }

    pub fn repo_url(&self) -> String {
        format!("http://{}/demo.git", self.address)
    }

    /// As `source.allow` names it.
    pub fn address(&self) -> Result<AllowedHost, Invalid> {
        AllowedHost::parse(&self.address.to_string())
    }
}

impl Drop for DemoServer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn line(text: &str) -> String {
    format!("{:04x}{text}\n", text.len() + 5)
}

async fn advertise() -> HttpResponse {
    let lines =
        ["version 2", "agent=gv", "ls-refs", "fetch=shallow", "object-format=sha1"].map(line).concat();
    let body = format!("{}{FLUSH}{lines}{FLUSH}", line("# service=git-upload-pack"));
    HttpResponse::Ok().content_type("application/x-git-upload-pack-advertisement").body(body)
}

async fn upload_pack(repository: Data<Repository>, request: Bytes) -> HttpResponse {
    let asks = |what: &[u8]| request.windows(what.len()).any(|window| window == what);
    let body = if asks(b"command=ls-refs") {
        let head = &repository.head;
        let refs = [format!("{head} HEAD symref-target:refs/heads/main"), format!("{head} refs/heads/main")];
        format!("{}{FLUSH}", refs.map(|text| line(&text)).concat()).into_bytes()
    } else if asks(b"command=fetch") {
        fetch(&repository, asks(b"deepen "))
    } else {
        return HttpResponse::BadRequest().body("not a command of this server\n");
    };
    HttpResponse::Ok().content_type("application/x-git-upload-pack-result").body(body)
}

/// The whole pack. Its only commit has no parent, so that a shallow clone is a complete one.
fn fetch(repository: &Repository, shallow: bool) -> Vec<u8> {
    let mut body = Vec::new();
    if shallow {
        body.extend_from_slice(format!("{}{DELIMITER}", line("shallow-info")).as_bytes());
    }
    body.extend_from_slice(line("packfile").as_bytes());
    for piece in repository.pack.chunks(BAND) {
        body.extend_from_slice(format!("{:04x}\u{1}", piece.len() + 5).as_bytes());
        body.extend_from_slice(piece);
    }
    body.extend_from_slice(FLUSH.as_bytes());
    body
}
