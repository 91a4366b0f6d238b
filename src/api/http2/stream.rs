//! One request of a connection, and its answer: by the same handlers as by HTTP/1.1, written as the client
//! has room for it.

use crate::api::error::{Kind, Problem};
use crate::api::http2::{Desk, MAX_BUFFERED};
use actix_http::error::PayloadError;
use actix_http::{BoxedPayloadStream, Payload, Request};
use actix_service::Service;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{HeaderName, HeaderValue, HttpDate};
use actix_web::http::{Method, Uri, Version};
use actix_web::{HttpResponse, ResponseError as _};
use bytes::Bytes;
use futures_util::Stream;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::request::Parts;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// How many fields a request may have: as by HTTP/1.1.
const MAX_FIELDS: usize = 96;
/// How long a client may take nothing of an answer that waits for it.
const STALL: Duration = Duration::from_secs(60);
/// What belongs to a connection of HTTP/1.1 alone (RFC 9113, 8.2.2).
const OF_CONNECTION: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// The client is gone, or has given this request up.
struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

/// Answers a request. Dropped, it ends the request.
pub async fn answer<A, B>(
    desk: Rc<Desk<A>>,
    asked: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    peer: Option<SocketAddr>,
) where
    A: Service<Request, Response = ServiceResponse<B>, Error = HttpResponse>,
    B: MessageBody,
{
    let (head, body) = asked.into_parts();
    let is_head = head.method == http::Method::HEAD;
    let date = HttpDate::from(SystemTime::from(desk.clock.now())).to_string();
    let outgoing = Outgoing { is_head, date };
    let Some(request) = request(&head, body, peer) else {
        let problem = Problem::new(Kind::Malformed, "The head of the request cannot be read.");
        let _ = outgoing.send(respond, problem.error_response()).await;
        return;
    };
    let answered = tokio::select! {
        biased;
        _ = poll_fn(|context| respond.poll_reset(context)) => return,
        answered = Box::pin(desk.app.call(request)) => answered,
    };
    // Whoever is gone does not miss the rest.
    let _ = match answered {
        Ok(answered) => Box::pin(outgoing.send(respond, answered.into_parts().1)).await,
        Err(answered) => Box::pin(outgoing.send(respond, answered)).await,
    };
}

/// The request as actix-web has it. `None`: it cannot be one.
fn request(head: &Parts, body: RecvStream, peer: Option<SocketAddr>) -> Option<Request> {
    if head.headers.len() > MAX_FIELDS {
        return None;
    }
    let payload: BoxedPayloadStream = Box::pin(Incoming(body));
    let mut request = Request::with_payload(Payload::Stream { payload });
    let made = request.head_mut();
    made.method = Method::from_bytes(head.method.as_str().as_bytes()).ok()?;
    made.uri = Uri::try_from(head.uri.to_string()).ok()?;
    made.version = Version::HTTP_2;
    made.peer_addr = peer;
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        made.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    Some(request)
}

/// A body on its way in. What was read makes room for as much.
struct Incoming(RecvStream);

impl Stream for Incoming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let broken = |_| PayloadError::Incomplete(None);
        Poll::Ready(match ready!(self.0.poll_data(context)) {
            Some(Ok(bytes)) => {
                let released = self.0.flow_control().release_capacity(bytes.len());
                Some(released.map(|()| bytes).map_err(broken))
            }
            Some(Err(error)) => Some(Err(broken(error))),
            None => None,
        })
    }
}

/// How an answer goes out.
struct Outgoing {
    is_head: bool,
    date: String,
}

impl Outgoing {
    async fn send<B: MessageBody>(
        self,
        mut respond: SendResponse<Bytes>,
        answer: HttpResponse<B>,
    ) -> Result<(), Gone> {
        let (answer, body) = answer.into_parts();
        let size = body.size();
        let is_empty = self.is_head || size.is_eof();
        let mut stream = respond.send_response(self.head(&answer, size), is_empty)?;
        if is_empty {
            return Ok(());
        }
        let mut body = pin!(body);
        loop {
            let piece = tokio::select! {
                biased;
                _ = poll_fn(|context| stream.poll_reset(context)) => return Err(Gone),
                piece = poll_fn(|context| body.as_mut().poll_next(context)) => piece,
            };
            match piece {
                Some(Ok(bytes)) => write(&mut stream, bytes).await?,
                Some(Err(_)) => {
                    // The status is long sent: the client hears that this is not the end.
                    stream.send_reset(Reason::INTERNAL_ERROR);
                    return Err(Gone);
                }
                None => return Ok(stream.send_data(Bytes::new(), true)?),
            }
        }
    }

    fn head(&self, answer: &HttpResponse<()>, size: BodySize) -> http::Response<()> {
        let mut head = http::Response::new(());
        let status = http::StatusCode::from_u16(answer.status().as_u16());
        *head.status_mut() = status.unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let fields = head.headers_mut();
        for (name, value) in answer.headers() {
            if OF_CONNECTION.contains(&name.as_str()) || name.as_str() == CONTENT_LENGTH {
                continue;
            }
            let name = http::HeaderName::from_bytes(name.as_str().as_bytes());
            let value = http::HeaderValue::from_bytes(value.as_bytes());
            if let (Ok(name), Ok(value)) = (name, value) {
                fields.append(name, value);
            }
        }
        if let BodySize::Sized(len) = size {
            fields.insert(CONTENT_LENGTH, len.into());
        }
        if let Ok(date) = http::HeaderValue::from_str(&self.date) {
            fields.insert(DATE, date);
        }
        head
    }
}

/// Hands bytes over as the client has room for them.
async fn write(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), Gone> {
    while !bytes.is_empty() {
        let wanted = bytes.len().min(MAX_BUFFERED);
        stream.reserve_capacity(wanted);
        let room = poll_fn(|context| {
            loop {
                match stream.capacity() {
                    0 => match ready!(stream.poll_capacity(context)) {
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
                    },
                    room => return Poll::Ready(Ok(room.min(wanted))),
                }
            }
        });
        let Ok(room) = timeout(STALL, room).await else {
            stream.send_reset(Reason::CANCEL);
            return Err(Gone);
        };
        stream.send_data(bytes.split_to(room?), false)?;
    }
    Ok(())
}
