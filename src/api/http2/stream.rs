//! One request of a connection, and its answer: by the same handlers as by HTTP/1.1, written as the client
//! has room for it.

use crate::api::error::{Kind, Problem};
use crate::api::http2::Desk;
use crate::http2::OF_CONNECTION;
use crate::http2::outgoing::{Gone, Outgoing, unless_given_up};
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
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, DATE};
use http::request::Parts;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How many fields a request may have: as by HTTP/1.1.
const MAX_FIELDS: usize = 96;
/// How long a client may take nothing of an answer that waits for it.
const STALL: Duration = Duration::from_secs(60);

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
    let manner = Manner { is_head, date };
    let Some(request) = request(&head, body, peer) else {
        let problem = Problem::new(Kind::Malformed, "The head of the request cannot be read.");
        let _ = manner.send(respond, problem.error_response()).await;
        return;
    };
    let answering = Box::pin(desk.app.call(request));
    let Ok(answered) = unless_given_up(&mut respond, answering).await else { return };
    // Whoever is gone does not miss the rest.
    let _ = match answered {
        Ok(answered) => Box::pin(manner.send(respond, answered.into_parts().1)).await,
        Err(answered) => Box::pin(manner.send(respond, answered)).await,
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
struct Manner {
    is_head: bool,
    date: String,
}

impl Manner {
    async fn send<B: MessageBody>(
        self,
        mut respond: SendResponse<Bytes>,
        answer: HttpResponse<B>,
    ) -> Result<(), Gone> {
        let (answer, body) = answer.into_parts();
        let size = body.size();
        let is_empty = self.is_head || size.is_eof();
        let mut outgoing = Outgoing(respond.send_response(self.head(&answer, size), is_empty)?);
        if is_empty {
            return Ok(());
        }
        let mut body = pin!(body);
        loop {
            let piece = poll_fn(|context| body.as_mut().poll_next(context));
            match outgoing.unless_given_up(piece).await? {
                Some(Ok(bytes)) => write(&mut outgoing, bytes).await?,
                // The status is long sent: the client hears that this is not the end.
                Some(Err(_)) => return Err(outgoing.cut_off(Reason::INTERNAL_ERROR)),
                None => return outgoing.send(Bytes::new(), true),
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
async fn write(outgoing: &mut Outgoing, mut bytes: Bytes) -> Result<(), Gone> {
    while !bytes.is_empty() {
        let room = outgoing.room(bytes.len(), Instant::now() + STALL).await?;
        outgoing.send(bytes.split_to(room), false)?;
    }
    Ok(())
}
