//! The edge's listeners, and the threads behind them.

use crate::edge::access_log::AccessLog;
use crate::edge::front::connection::{Books, Connection, Desk, Rest};
use crate::edge::front::{Outgoing, Rewound};
use crate::edge::http2::connection as http2;
use crate::edge::https::Https;
use crate::edge::moment::Moments;
use crate::edge::tally::Tally;
use crate::edge::{Edge, EdgePorts, EdgeSettings, unusual};
use crate::ports::clock::Clock;
use crate::tls::Hosts;
use crate::tls::certificates::renewing;
use crate::tls::files::following;
use crate::tls::handshake::Handshakes;
use crate::tls::listeners::{Listeners, TlsListener};
use crate::tls::wire::Wire;
use actix_http::Protocol;
use actix_server::Server;
use actix_service::{Service, ServiceFactory, fn_factory, fn_service};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// How long downloads may go on after the stop, in seconds.
const DRAIN_S: u64 = 30;
/// Lines of the access log lie no longer in a thread's buffer.
const LOG_EVERY: Duration = Duration::from_secs(1);
/// How long the access log may take to be written to its end.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Serves visitors until `stop`, then finishes what runs, for at most 30 seconds. Must be called
/// within a Tokio runtime of several threads. Fails when a listener, the disk or the access log cannot be
/// used.
pub async fn serve(
    ports: EdgePorts,
    settings: EdgeSettings,
    listeners: Listeners,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let making = {
        let (ports, settings, runtime) = (ports.clone(), settings.clone(), Handle::current());
        move || Edge::new(&ports, &settings, &runtime)
    };
    let edge = Arc::new(tokio::task::spawn_blocking(making).await??);
    let (log, writer) = settings.access_log.clone().map(AccessLog::start).transpose()?.unzip();
    let stopping = Arc::new(AtomicBool::new(false));
    let house = House {
        edge: Arc::clone(&edge),
        clock: ports.clock,
        log,
        stopping: Arc::clone(&stopping),
        stop: stop.clone(),
    };
    let mut server = Server::build()
        .disable_signals()
        .shutdown_timeout(DRAIN_S)
        .shutdown_signal(stop.clone().cancelled_owned());
    let address = listeners.plain.local_addr()?;
    let (plain, elsewhere) = (house.clone(), Https::plain(listeners.elsewhere));
    server = server.listen("edge", listeners.plain, move || {
        plain.clone().serving(address, elsewhere.clone(), |stream| std::future::ready(Some(Wire(stream))))
    })?;
    let sites = Hosts::Sites(Arc::clone(&edge) as _);
    let (mut files, mut renewed) = (None, None);
    if let Some(TlsListener { socket, files: shown }) = listeners.tls {
        files = shown;
        renewed = ports.certificates;
        let handshakes = Arc::new(Handshakes::new(sites.clone(), renewed.clone(), files.clone())?);
        let (address, tls) = (socket.local_addr()?, house.clone());
        let here = Https::tls(settings.hsts_max_age_s);
        server = server.listen("edge-tls", socket, move || {
            let handshakes = Arc::clone(&handshakes);
            tls.clone().serving(address, here.clone(), move |stream| {
                let handshakes = Arc::clone(&handshakes);
                async move { handshakes.accept(stream).await }
            })
        })?;
    }
    let ending = async {
        stop.cancelled().await;
        stopping.store(true, Ordering::Relaxed);
        std::future::pending::<()>().await;
    };
    drop(house);
    // Heard to the end: a host may move while downloads finish.
    tokio::select! {
        ended = server.run() => ended?,
        () = edge.pointers.follow(&*ports.notices) => {}
        () = following(files.as_deref()) => {}
        () = renewing(renewed.as_deref(), &sites) => {}
        () = ending => {}
    }
    if let Some(writer) = writer {
        // Its last lines come with the end of the threads that wrote them.
        let ended = tokio::task::spawn_blocking(|| writer.join());
        let _ = tokio::time::timeout(LAST_LINES, ended).await;
    }
    Ok(())
}

/// What every thread makes its own desk from.
#[derive(Clone)]
struct House {
    edge: Arc<Edge>,
    clock: Arc<dyn Clock>,
    log: Option<AccessLog>,
    stopping: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl House {
    fn desk(self, https: Https) -> Rc<Desk> {
        let log = self.log.as_ref().map(AccessLog::lines);
        let desk = Rc::new(Desk {
            edge: self.edge,
            stopping: self.stopping,
            tally: Tally::default(),
            books: RefCell::new(Books { moments: Moments::new(self.clock), log }),
            https,
        });
        if self.log.is_some() {
            let desk = Rc::downgrade(&desk);
            actix_web::rt::spawn(async move {
                while let Some(desk) = desk.upgrade() {
                    if let Some(log) = &mut desk.books.borrow_mut().log {
                        log.give_away();
                    }
                    drop(desk);
                    tokio::time::sleep(LOG_EVERY).await;
                }
            });
        }
        desk
    }

    /// Serves a listener whose connections become streams by `accept`; `None`: they do not.
    fn serving<S, F>(
        self,
        address: SocketAddr,
        https: Https,
        accept: impl Fn(TcpStream) -> F + Clone + 'static,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()>
    where
        S: Outgoing + 'static,
        F: Future<Output = Option<S>>,
    {
        fn_factory(move || {
            let (house, https, accept) = (self.clone(), https.clone(), accept.clone());
            async move {
                let stop = house.stop.clone();
                let desk = house.desk(https);
                let unusual = unusual::service(Rc::clone(&desk), stop, address);
                let unusual = Rc::new(unusual.new_service(()).await?);
                Ok(fn_service(move |stream: TcpStream| {
                    let (desk, unusual, accept) = (Rc::clone(&desk), Rc::clone(&unusual), accept.clone());
                    async move {
                        prepare(&stream);
                        let peer = stream.peer_addr().ok();
                        if let Some(stream) = accept(stream).await {
                            converse(stream, desk, &*unusual, peer).await;
                        }
                        Ok::<_, ()>(())
                    }
                }))
            }
        })
    }
}

fn prepare(stream: &TcpStream) {
    // Answers are written whole: nothing is gained by waiting for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
}

/// One connection: by HTTP/2 where it was asked for; else by the front as long as it is ordinary, by actix-web from then on.
async fn converse<S, U>(stream: S, desk: Rc<Desk>, unusual: &U, peer: Option<SocketAddr>)
where
    S: Outgoing,
    U: Service<(Rewound<S>, Protocol, Option<SocketAddr>), Response = ()>,
{
    let client = peer.map(|peer| peer.ip());
    if stream.speaks_http2() {
        return Box::pin(http2::serve(stream, desk, client)).await;
    }
    let connection = Connection::new(stream, desk, client);
    if let Rest::Unusual(read, stream) = connection.serve().await {
        // What goes wrong there has been answered, or nobody is there to hear.
        let _ = unusual.call((Rewound::new(read, stream), Protocol::Http1, peer)).await;
    }
}
