//! `/deployments/{id}/logs`: a log as lines of JSON or as server-sent events, live and resumable.
//!
//! Lines go out as the reader takes them: no more than a few are held here. A stream
//! that ends without the event `end` was cut off (by a restart, say), and is taken up again with
//! the last number seen.

use crate::api::Api;
use crate::api::deployments::find;
use crate::api::error::Problem;
use crate::api::extract::Params;
use crate::api::views::{DeploymentView, ErrorView, StepWord, StreamWord};
use crate::app::App;
use crate::app::accounts::Actor;
use crate::app::logs::LogEvent;
use crate::domain::deployment::{Deployment, StateName};
use crate::domain::id::DeploymentId;
use crate::domain::log::LogLine;
use crate::ports::error::StoreError;
use actix_web::http::header;
use actix_web::web::{Bytes, Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, stream};
use serde::Serialize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tracing::Instrument as _;
use utoipa::ToSchema;

/// Proxies give up on connections that are silent for a minute, some for half of one.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Chunks that are read before the reader has taken those before them.
const AHEAD: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Lines,
    Events,
}

/// One line of a log.
#[derive(ToSchema)]
#[schema(as = LogLine)]
#[expect(dead_code, reason = "the document's schema of the domain's `LogLine`")]
pub struct LogLineView {
    /// Rises from line to line; may leave gaps.
    seq: u64,
    time: OffsetDateTime,
    #[schema(value_type = StreamWord)]
    stream: StreamWord,
    #[schema(value_type = StepWord)]
    step: StepWord,
    text: String,
}

/// The last word of a log that was followed: how the deployment ended.
#[derive(Serialize, ToSchema)]
#[schema(as = LogEnd)]
pub struct EndView {
    #[schema(example = "end")]
    event: &'static str,
    #[schema(value_type = crate::api::views::StateWord)]
    state: StateName,
    #[schema(required = true)]
    error: Option<ErrorView>,
    deployment: DeploymentView,
}

/// Read or follow a deployment's log
///
/// Lines of JSON, or the same as server-sent events. With `follow` it ends when the deployment has
/// ended, after `{"event": "end", "state": ...}` (an event named `end`). Take up a broken stream
/// with `after` or `Last-Event-ID`.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/logs", tag = "deployments",
    params(("id" = String, Path),
        ("after" = Option<u64>, Query, description = "Only lines after this number"),
        ("follow" = Option<bool>, Query, description = "Wait for more until the deployment has ended"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Wins over `after`")),
    responses((status = 200, description = "Lines as they come", content(
        (LogLineView = "application/x-ndjson"), (String = "text/event-stream")))))]
pub async fn read(
    actor: Actor,
    api: Data<Api>,
    request: HttpRequest,
    id: Path<DeploymentId>,
    mut query: Params,
) -> Result<HttpResponse, Problem> {
    let (after, follow) = (query.take::<u64>("after")?, query.take_flag("follow")?);
    query.finish()?;
    let after = last_event_id(&request)?.or(after).unwrap_or(0);
    let deployment = find(&api, actor, *id).await?;
    let form = form(&request);
    let body = pumped(&api, deployment, after, follow, form);
    Ok(HttpResponse::Ok()
        .content_type(match form {
            Form::Lines => "application/x-ndjson",
            Form::Events => "text/event-stream",
        })
        // Some proxies gather answers before they pass them on, unless told not to.
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header((header::CACHE_CONTROL, "no-store, no-transform"))
        .streaming(body))
}

/// The log as a body. It is read by a task on the process's own runtime, where the query of a reader
/// who hangs up may be dropped (see [`Api::run`]); the short channel between them holds the task to
/// the reader's pace.
fn pumped(
    api: &Api,
    deployment: Deployment,
    after: u64,
    follow: bool,
    form: Form,
) -> impl Stream<Item = Result<Bytes, StoreError>> + use<> {
    let (app, stop) = (Arc::clone(&api.app), api.stop.clone());
    let (send, receive) = mpsc::channel(AHEAD);
    let pump = async move {
        let events = app.read_log(deployment, after, follow);
        let mut chunks = pin!(chunks(app, events, form));
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = send.closed() => None,
                () = stop.cancelled() => None,
            };
            let Some(chunk) = chunk else { break };
            if send.send(chunk).await.is_err() {
                break;
            }
        }
    };
    api.runtime.spawn(pump.in_current_span());
    stream::unfold(receive, async |mut receive| Some((receive.recv().await?, receive)))
}

/// The log as chunks of a body, with a sign of life where nothing happens for long.
fn chunks(
    app: Arc<App>,
    events: BoxStream<'static, Result<LogEvent, StoreError>>,
    form: Form,
) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::unfold(Some(events), move |events| {
        let app = Arc::clone(&app);
        async move {
            let mut events = events?;
            let Ok(event) = tokio::time::timeout(KEEP_ALIVE, events.next()).await else {
                // A comment, or a line that says nothing: readers pass over it.
                let sign: &'static [u8] = match form {
                    Form::Lines => b"\n",
                    Form::Events => b": still here\n\n",
                };
                return Some((Ok(Bytes::from_static(sign)), Some(events)));
            };
            let event = event?;
            let chunk = match event {
                Ok(LogEvent::Line(line)) => line_chunk(&line, form),
                Ok(LogEvent::End(deployment)) => end_chunk(&app, &deployment, form).await,
                Err(error) => Err(error),
            };
            if let Err(error) = &chunk {
                // The status is long sent: the connection breaks off, which the reader can tell.
                tracing::warn!(%error, "a log that was being read broke off");
                return Some((chunk, None));
            }
            Some((chunk, Some(events)))
        }
    })
}

fn line_chunk(line: &LogLine, form: Form) -> Result<Bytes, StoreError> {
    let json = encoded(line)?;
    Ok(match form {
        Form::Lines => format!("{json}\n"),
        Form::Events => format!("id: {}\ndata: {json}\n\n", line.seq),
    }
    .into())
}

async fn end_chunk(app: &App, deployment: &Deployment, form: Form) -> Result<Bytes, StoreError> {
    let json = encoded(&EndView {
        event: "end",
        state: deployment.state.name(),
        error: ErrorView::of(&deployment.state),
        deployment: DeploymentView::read(app, deployment).await?,
    })?;
    Ok(match form {
        Form::Lines => format!("{json}\n"),
        Form::Events => format!("event: end\ndata: {json}\n\n"),
    }
    .into())
}

/// JSON on one line: line breaks within texts are escaped.
fn encoded(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| {
        StoreError::new(crate::ports::error::StoreErrorKind::Internal, "writing a log as JSON", error)
    })
}

fn form(request: &HttpRequest) -> Form {
    let mut accepted = request.headers().get_all(header::ACCEPT).filter_map(|value| value.to_str().ok());
    if accepted.any(|value| value.to_ascii_lowercase().contains("text/event-stream")) {
        Form::Events
    } else {
        Form::Lines
    }
}

fn last_event_id(request: &HttpRequest) -> Result<Option<u64>, Problem> {
    const NAME: &str = "Last-Event-ID";
    let Some(value) = request.headers().get(NAME) else { return Ok(None) };
    let number = value.to_str().ok().map(str::trim);
    // Browsers send it empty when they have seen no event.
    if number == Some("") {
        return Ok(None);
    }
    let number = number.and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Problem::invalid(NAME, "must be the number of a line"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deployment::StepName;
    use crate::domain::log::LogStream;
    use actix_web::test::TestRequest;

    #[test]
    fn a_line_is_one_line_in_both_forms_and_an_event_has_its_number() {
        let line = LogLine {
            seq: 7,
            time: OffsetDateTime::UNIX_EPOCH,
            stream: LogStream::Stdout,
            step: StepName::Build,
            text: "a\rb \u{2028} \"c\"".into(),
        };
        let json = r#"{"seq":7,"time":"1970-01-01T00:00:00Z","stream":"stdout","step":"build","#;
        let lines = line_chunk(&line, Form::Lines).unwrap();
        assert!(lines.starts_with(json.as_bytes()) && lines.ends_with(b"}\n"));
        let event = line_chunk(&line, Form::Events).unwrap();
        assert!(event.starts_with(format!("id: 7\ndata: {json}").as_bytes()) && event.ends_with(b"}\n\n"));
        assert!(!event.contains(&b'\r'));
    }

    #[test]
    fn the_reader_chooses_the_form_and_where_to_go_on() {
        let with = |name: &'static str, value: &'static str| {
            TestRequest::get().insert_header((name, value)).to_http_request()
        };
        assert_eq!(form(&with("accept", "text/event-stream, */*")), Form::Events);
        assert_eq!(form(&with("accept", "*/*")), Form::Lines);
        assert_eq!(last_event_id(&with("last-event-id", "42")).unwrap(), Some(42));
        assert_eq!(last_event_id(&with("last-event-id", "")).unwrap(), None);
        assert!(last_event_id(&with("last-event-id", "x")).is_err());
    }
}
