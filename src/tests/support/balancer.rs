//! A load balancer of one test's own, as plain as they come: it sends each request to the next process that
//! is in, once, over a connection of its own, and passes the answer on as it comes. A process is in as long
//! as its `/readyz` says 200. Nothing is tried again: what fails, the client sees.
//!
//! Start with [`Balancer::before`].

use super::fleet::Member;
use actix_web::web::{Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use reqwest::Client;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

/// How often each process is asked whether it is ready.
const EVERY: Duration = Duration::from_millis(250);
/// Longer than any process takes to be ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// Fields of one connection alone, and those that the next hop makes anew.
const OF_ONE_HOP: [&str; 4] = ["connection", "keep-alive", "transfer-encoding", "content-length"];

/// Goes on until it is dropped.
pub struct Balancer {
    address: SocketAddr,
    pool: Arc<Pool>,
    _asking: AbortOnDropHandle<()>,
    _serving: AbortOnDropHandle<std::io::Result<()>>,
}

struct Pool {
    processes: Mutex<Vec<Process>>,
    turn: AtomicUsize,
    client: Client,
}

#[derive(Clone)]
struct Process {
    serves_at: String,
    ops: String,
    is_in: bool,
}

impl Process {
    fn of(member: &Member) -> Self {
        Self { serves_at: member.url(), ops: member.ops(), is_in: false }
    }
}

impl Balancer {
    /// Stands before these, all of which are in when it returns.
    pub async fn before(members: &[Member]) -> Self {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // A connection that was kept may be tried again by the client when it turns out to be closed.
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        let processes = Mutex::new(members.iter().map(Process::of).collect());
        let pool = Arc::new(Pool { processes, turn: AtomicUsize::new(0), client });
        let asking = tokio::spawn(ask(pool.clone()));
        let served = Data::from(pool.clone());
        let server = HttpServer::new(move || {
            App::new().app_data(served.clone()).default_service(actix_web::web::to(pass))
        });
        let server = server.workers(2).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let address = server.addrs()[0];
        let serving = tokio::spawn(server.run());
        let (asking, serving) = (AbortOnDropHandle::new(asking), AbortOnDropHandle::new(serving));
        let balancer = Self { address, pool, _asking: asking, _serving: serving };
        balancer.until_all_are_in().await;
        balancer
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The process of this number lives on at another address.
    pub async fn replace(&self, number: usize, member: &Member) {
        self.pool.processes.lock().unwrap()[number] = Process::of(member);
        self.until_all_are_in().await;
    }

    async fn until_all_are_in(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.pool.processes.lock().unwrap().iter().all(|process| process.is_in) {
            assert!(Instant::now() < deadline, "not all processes are ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Pool {
    /// Whose turn it is.
    fn next(&self) -> Option<String> {
        let processes = self.processes.lock().unwrap();
        let inside: Vec<&Process> = processes.iter().filter(|process| process.is_in).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        inside.get(turn % inside.len().max(1)).map(|process| process.serves_at.clone())
    }
}

async fn ask(pool: Arc<Pool>) {
    loop {
        let processes = pool.processes.lock().unwrap().clone();
        for asked in processes {
            let asking = pool.client.get(format!("{}/readyz", asked.ops)).timeout(Duration::from_secs(2));
            let is_in = asking.send().await.is_ok_and(|answer| answer.status() == 200);
            let mut processes = pool.processes.lock().unwrap();
            // It may have been replaced meanwhile.
            for process in processes.iter_mut().filter(|process| process.ops == asked.ops) {
                process.is_in = is_in;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn pass(request: HttpRequest, body: Bytes, pool: Data<Pool>) -> HttpResponse {
    let Some(to) = pool.next() else {
        return HttpResponse::ServiceUnavailable().body("nobody is ready\n");
    };
    let method = reqwest::Method::from_bytes(request.method().as_str().as_bytes()).unwrap();
    let mut passed = pool.client.request(method, format!("{to}{}", request.uri()));
    for (name, value) in request.headers() {
        if !OF_ONE_HOP.contains(&name.as_str()) {
            passed = passed.header(name.as_str(), value.as_bytes());
        }
    }
    if !body.is_empty() {
        passed = passed.body(body);
    }
    let answer = match passed.send().await {
        Ok(answer) => answer,
        Err(error) => return HttpResponse::BadGateway().body(format!("{to}: {error:?}\n")),
    };
    let status = actix_web::http::StatusCode::from_u16(answer.status().as_u16()).unwrap();
    let mut response = HttpResponse::build(status);
    for (name, value) in answer.headers() {
        if !OF_ONE_HOP.contains(&name.as_str()) {
            response.append_header((name.as_str(), value.as_bytes()));
        }
    }
    response.streaming(answer.bytes_stream())
}
