//! What the front hands over: requests with a content, of HTTP/1.0, to another form of
//! target, and all that follows them on their connection. actix-web reads them and writes the
//! answers, which are the same.

use crate::edge::access_log::Circumstances;
use crate::edge::front::connection::{CLOSE_DEADLINE, Desk, HEAD_DEADLINE, KEEP_ALIVE};
use crate::edge::held::Pages;
use crate::edge::reply::{FileBody, Reply, cache_status, fields_of};
use crate::edge::request::{Method, Request};
use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory as _, ServiceFactory, ServiceFactoryExt as _, map_config};
use actix_web::body::{BodySize, BoxBody, MessageBody, SizedStream};
use actix_web::dev::AppConfig;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{App, HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use httparse::Header;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// How much of a held file is handed to the connection at once.
const PIECE_BYTES: usize = 128 * 1024;

/// Serves the rest of connections.
pub fn service<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    desk: Rc<Desk>,
    stop: CancellationToken,
    address: SocketAddr,
) -> impl ServiceFactory<(S, Protocol, Option<SocketAddr>), Config = (), Response = (), InitError = ()> {
    let app = App::new().app_data(desk).default_service(web::to(handle));
    let app = app.into_factory().map_err(|error| error.error_response());
    HttpService::build()
        .graceful_shutdown_signal(move || stop.clone().cancelled_owned())
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_DEADLINE)
        .client_disconnect_timeout(CLOSE_DEADLINE)
        .local_addr(address)
        .finish(map_config(app, |()| AppConfig::default()))
}

async fn handle(request: HttpRequest) -> HttpResponse {
    let began = Instant::now();
    let Some(desk) = request.app_data::<Rc<Desk>>() else {
        return HttpResponse::InternalServerError().finish();
    };
    let fields: Vec<Header<'_>> = request
        .headers()
        .iter()
        .map(|(name, value)| Header { name: name.as_str(), value: value.as_bytes() })
        .collect();
    let uri = request.uri();
    let authority = uri.authority().map(|authority| authority.as_str());
    let asked = Request {
        method: Method::of(request.method().as_str()),
        method_name: request.method().as_str(),
        target: uri.path_and_query().map_or("", |target| target.as_str()),
        authority,
        fields: &fields,
    };
    let reply = match desk.at_once(&asked, began) {
        Some(reply) => reply,
        None => desk.edge.answer(&asked).await,
    };
    let client = request.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
    desk.note(&asked, &reply, &Circumstances { client: &client, began, ended: Instant::now() }, |_| ());
    let hsts = desk.https.hsts(&reply).to_vec();
    response(reply, &hsts)
}

fn response(mut reply: Reply, hsts: &[u8]) -> HttpResponse {
    let mut response =
        HttpResponse::build(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::NOT_FOUND));
    append(&mut response, reply.lines.as_bytes());
    if let Some(layer) = reply.manner.layer {
        append(&mut response, cache_status(layer));
    }
    append(&mut response, hsts);
    let len = reply.len();
    match reply.take_body() {
        FileBody::Empty if reply.status == 204 || reply.status == 304 => response.finish(),
        _ if reply.manner.is_head => response.no_chunking(len).body(NoBody),
        FileBody::Empty | FileBody::OfReady => response.finish(),
        FileBody::Length(len) => response.no_chunking(len).body(NoBody),
        FileBody::Held(bytes) => response.body(Pieces(bytes)),
        FileBody::Pages(pages, range) => response.body(PagePieces(pages, range)),
        FileBody::Stream(len, stream) => response.body(BoxBody::new(SizedStream::new(len, stream))),
    }
}

/// Lines as they are sent, but for the length, which the body says.
fn append(response: &mut HttpResponseBuilder, lines: &[u8]) {
    for (name, value) in fields_of(lines) {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
            continue;
        };
        if name != "content-length" {
            response.append_header((name, value));
        }
    }
}

/// Held bytes, given away piece by piece.
struct Pieces(Bytes);

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let len = self.0.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(self.0.split_to(len))))
    }
}

/// The same of pages.
struct PagePieces(Arc<Pages>, Range<u64>);

impl MessageBody for PagePieces {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.1.end - self.1.start)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.1.is_empty() {
            return Poll::Ready(None);
        }
        let len = usize::try_from(self.1.end - self.1.start).map_or(PIECE_BYTES, |len| len.min(PIECE_BYTES));
        let mut piece = vec![0; len];
        let read = self.0.read(self.1.start, &mut piece)?;
        piece.truncate(read);
        self.1.start += read as u64;
        Poll::Ready(Some(Ok(piece.into())))
    }
}

/// What a HEAD gets beside the length of what does not come. Its size is left open: with one, the
/// HTTP library ends a connection on which the next request is already waiting, since it takes
/// that one's method for this one's.
struct NoBody;

impl MessageBody for NoBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}
