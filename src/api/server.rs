//! The api's listeners, plain and by TLS, and the threads behind them.

use crate::api::https::{self, Door};
use crate::api::{Api, ApiSettings, http2, observe, routes};
use crate::app::App;
use crate::tls::Hosts;
use crate::tls::certificates::{Certificates, renewing};
use crate::tls::files::{HTTP_2, following};
use crate::tls::handshake::Handshakes;
use crate::tls::listeners::{Listeners, TlsListener};
use actix_http::{HttpService, Protocol, Request};
use actix_server::Server;
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactory, ServiceFactoryExt as _, fn_factory, fn_service,
    map_config,
};
use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use anyhow::Context as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// How long running requests may take to finish once the process is to stop.
const DRAIN_S: u64 = 30;
/// How long a connection may lie idle.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to send the head of a request.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may take to leave after its last answer.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// Serves the API until `stop`, then finishes what is running (within 30 s) and returns. To be
/// called on a multi-threaded runtime. Fails when a listener cannot be used.
pub async fn serve(
    app: Arc<App>,
    settings: ApiSettings,
    listeners: Listeners,
    certificates: Option<Arc<Certificates>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let hsts = settings.hsts_max_age_s;
    let renewed = certificates.clone().filter(|_| settings.renews_certificates);
    let api = Data::new(Api { app, settings, stop: stop.clone(), runtime: Handle::current() });
    let mut server = Server::build()
        .disable_signals()
        .shutdown_timeout(DRAIN_S)
        .shutdown_signal(stop.clone().cancelled_owned());
    let address = listeners.plain.local_addr()?;
    let door = Data::new(Door::plain(listeners.elsewhere, certificates.clone()));
    let house = House { api: api.clone(), door, address };
    server = server.listen("api", listeners.plain, move || house.clone().serving()).context("api.listen")?;
    let mut files = None;
    if let Some(TlsListener { socket, files: shown }) = listeners.tls {
        files = shown;
        let handshakes = Arc::new(Handshakes::new(Hosts::Api, certificates, files.clone())?);
        let house = House { api, door: Data::new(Door::tls(hsts)), address: socket.local_addr()? };
        let serving = move || house.clone().serving_tls(Arc::clone(&handshakes));
        server = server.listen("api-tls", socket, serving).context("api.tls_listen")?;
    }
    tokio::select! {
        ended = server.run() => ended.context("serving the api"),
        () = following(files.as_deref()) => Ok(()),
        () = renewing(renewed.as_deref(), &Hosts::Api) => Ok(()),
    }
}

/// What every thread makes its services of a listener from.
#[derive(Clone)]
struct House {
    api: Data<Api>,
    door: Data<Door>,
    address: SocketAddr,
}

impl House {
    fn serving(
        self,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> {
        fn_factory(move || {
            let house = self.clone();
            async move {
                let http1 = Rc::new(house.http1().new_service(()).await?);
                Ok(fn_service(move |stream: TcpStream| {
                    let http1 = Rc::clone(&http1);
                    async move {
                        let peer = stream.peer_addr().ok();
                        // What goes wrong has been answered, or nobody is there to hear.
                        let _ = http1.call((stream, Protocol::Http1, peer)).await;
                        Ok::<_, ()>(())
                    }
                }))
            }
        })
    }

    fn serving_tls(
        self,
        handshakes: Arc<Handshakes>,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> {
        fn_factory(move || {
            let (house, handshakes) = (self.clone(), Arc::clone(&handshakes));
            async move {
                let stop = house.api.stop.clone();
                let http1 = Rc::new(house.http1().new_service(()).await?);
                let http2 = Rc::new(http2::Desk {
                    app: house.app().new_service(()).await?,
                    clock: Arc::clone(&house.api.app.clock),
                });
                Ok(fn_service(move |stream: TcpStream| {
                    let (http1, http2) = (Rc::clone(&http1), Rc::clone(&http2));
                    let (handshakes, stop) = (Arc::clone(&handshakes), stop.clone());
                    async move {
                        let peer = stream.peer_addr().ok();
                        // Answers are written whole: nothing is gained by waiting for more.
                        let _ = stream.set_nodelay(true);
                        let Some(stream) = handshakes.accept(stream).await else { return Ok(()) };
                        if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) {
                            Box::pin(http2::serve(stream, http2, peer, stop)).await;
                        } else {
                            let _ = http1.call((stream, Protocol::Http1, peer)).await;
                        }
                        Ok::<_, ()>(())
                    }
                }))
            }
        })
    }

    fn http1<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        &self,
    ) -> impl ServiceFactory<(S, Protocol, Option<SocketAddr>), Config = (), Response = (), InitError = ()> + use<S>
    {
        let stop = self.api.stop.clone();
        HttpService::build()
            .graceful_shutdown_signal(move || stop.clone().cancelled_owned())
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(HEAD_DEADLINE)
            .client_disconnect_timeout(CLOSE_DEADLINE)
            .local_addr(self.address)
            .finish(self.app())
    }

    fn app(
        &self,
    ) -> impl ServiceFactory<
        Request,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = HttpResponse,
        InitError = (),
    > + use<> {
        let app = actix_web::App::new()
            .app_data(self.door.clone())
            .wrap(from_fn(https::pass))
            .wrap(from_fn(observe::observe))
            .configure(routes(self.api.clone()));
        let app = app.into_factory().map_err(|error| error.error_response());
        map_config(app, |()| AppConfig::default())
    }
}
