//! Spans: what was done for a deployment, when, and as a part of what. Whoever does something makes a
//! [`Span`] of it and drops that when it is done; where they go is the adapter's.
//!
//! Where traces are off, or one is not sampled, a span is nothing but the place it stands for. Start with
//! [`Tracer`].

use crate::domain::trace::TraceContext;
use crate::ports::clock::Clock;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use time::OffsetDateTime;

/// Takes spans that have ended.
pub trait Traces: Send + Sync {
    /// Never waits, and never fails: what finds no room is lost.
    fn take(&self, span: EndedSpan);

    /// Of a hundred traces that begin here, so many are sampled.
    fn sample_percent(&self) -> u8;
}

/// The part of a span that a request or a message has (OpenTelemetry's kinds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    Internal,
    /// Answers a request.
    Server,
    /// Puts a message into a queue.
    Producer,
    /// Handles a message.
    Consumer,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct EndedSpan {
    pub context: TraceContext,
    pub parent: Option<Parent>,
    /// Another span that led to this one.
    pub link: Option<TraceContext>,
    pub kind: SpanKind,
    pub name: Cow<'static, str>,
    pub began: OffsetDateTime,
    pub ended: OffsetDateTime,
    /// By OpenTelemetry's semantic conventions where they have a name for it. None is a secret, or a person's
    /// own words.
    pub attributes: Vec<(&'static str, Value)>,
    /// Why what was done came to nothing.
    pub error: Option<Cow<'static, str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub context: TraceContext,
    /// Of another process.
    pub is_remote: bool,
}

/// Makes spans. Cheap to clone.
#[derive(Clone)]
pub struct Tracer {
    /// `None`: traces are off.
    to: Option<Arc<dyn Traces>>,
    clock: Arc<dyn Clock>,
}

/// Something that is being done. Dropped, it is done.
pub struct Span {
    /// Where what comes of it stands in the trace. `None`: there is no trace.
    context: Option<TraceContext>,
    record: Option<Box<Record>>,
}

struct Record {
    span: EndedSpan,
    tracer: Tracer,
    has_end: bool,
}

impl Tracer {
    pub fn new(to: Option<Arc<dyn Traces>>, clock: Arc<dyn Clock>) -> Self {
        Self { to, clock }
    }

    /// The beginning of a trace, or what another process asks for within one of its own.
    pub fn begin(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        asked: Option<TraceContext>,
    ) -> Span {
        let Some(to) = &self.to else { return Span { context: asked, record: None } };
        let mut rng = rand::rng();
        let context = match &asked {
            Some(asked) => asked.next(&mut rng),
            None => TraceContext::begin(to.sample_percent(), &mut rng),
        };
        self.span(name.into(), kind, context, asked.map(|context| Parent { context, is_remote: true }))
    }

    /// What is done as a part of something in another process. Without that there is no span.
    pub fn go_on(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: Option<TraceContext>,
    ) -> Span {
        match parent {
            Some(_) => self.begin(name, kind, parent),
            None => Span::NONE,
        }
    }

    fn span(
        &self,
        name: Cow<'static, str>,
        kind: SpanKind,
        context: TraceContext,
        parent: Option<Parent>,
    ) -> Span {
        if !context.is_sampled {
            return Span { context: Some(context), record: None };
        }
        let now = self.clock.now();
        let (began, ended, link, attributes, error) = (now, now, None, Vec::new(), None);
        let span = EndedSpan { context, parent, link, kind, name, began, ended, attributes, error };
        let record = Record { span, tracer: self.clone(), has_end: false };
        Span { context: Some(context), record: Some(Box::new(record)) }
    }
}

impl Span {
    pub const NONE: Self = Self { context: None, record: None };

    /// For what is done as a part of it elsewhere.
    pub fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// A part of it, in this process.
    pub fn part(&self, name: impl Into<Cow<'static, str>>) -> Self {
        self.part_of_kind(name, SpanKind::Internal)
    }

    pub fn part_of_kind(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Self {
        let Some(Record { span, tracer, .. }) = self.record.as_deref() else {
            return Self { context: self.context, record: None };
        };
        let context = span.context.next(&mut rand::rng());
        let parent = Parent { context: span.context, is_remote: false };
        tracer.span(name.into(), kind, context, Some(parent))
    }

    pub fn note(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(record) = &mut self.record {
            record.span.attributes.push((name, value.into()));
        }
    }

    /// Another span that led to this one, if it is another.
    pub fn link(&mut self, other: Option<TraceContext>) {
        if let Some(record) = &mut self.record {
            let parent = record.span.parent.map(|parent| parent.context);
            record.span.link = other.filter(|other| Some(*other) != parent);
        }
    }

    /// It came to nothing: `why` is a stable word.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(record) = &mut self.record {
            record.span.error = Some(why.into());
        }
    }

    /// When it happened, where that is over already.
    pub fn lasted(&mut self, began: OffsetDateTime, ended: OffsetDateTime) {
        if let Some(record) = &mut self.record {
            (record.span.began, record.span.ended, record.has_end) = (began, ended.max(began), true);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(record) = self.record.take() else { return };
        let Record { mut span, tracer, has_end } = *record;
        if !has_end {
            // A clock may go back.
            span.ended = tracer.clock.now().max(span.began);
        }
        if let Some(to) = &tracer.to {
            to.take(span);
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span").field("context", &self.context).finish_non_exhaustive()
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use time::Duration;

    #[derive(Default)]
    struct Kept(Mutex<Vec<EndedSpan>>);

    impl Traces for Kept {
        fn take(&self, span: EndedSpan) {
            self.0.lock().unwrap().push(span);
        }

        fn sample_percent(&self) -> u8 {
            100
        }
    }

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> OffsetDateTime {
            OffsetDateTime::UNIX_EPOCH + Duration::hours(12)
        }
    }

    fn tracer() -> (Tracer, Arc<Kept>) {
        let kept = Arc::new(Kept::default());
        (Tracer::new(Some(kept.clone()), Arc::new(Noon)), kept)
    }

    #[test]
    fn parts_end_before_their_whole_and_name_it_as_their_parent() {
        let (tracer, kept) = tracer();
        let mut whole = tracer.begin("whole", SpanKind::Server, None);
        whole.note("answer", 42_u16);
        let mut part = whole.part("part");
        part.fail("lost");
        drop(part);
        let context = whole.context().unwrap();
        drop(whole);
        let kept = kept.0.lock().unwrap();
        let [part, whole] = &kept[..] else { panic!("{kept:?}") };
        assert_eq!((&*part.name, part.error.as_deref()), ("part", Some("lost")));
        assert_eq!(part.parent, Some(Parent { context, is_remote: false }));
        assert_eq!((whole.parent, whole.context), (None, context));
        assert_eq!(whole.attributes, [("answer", Value::Number(42))]);
        assert_eq!(part.context.trace, context.trace);
    }

    #[test]
    fn a_trace_that_is_not_sampled_or_not_taken_is_carried_on_all_the_same() {
        let (tracer, kept) = tracer();
        let asked = TraceContext { trace: 1, span: 2, is_sampled: false };
        let whole = tracer.begin("whole", SpanKind::Server, Some(asked));
        assert_eq!(whole.part("part").context().map(|context| context.trace), Some(1));
        drop(whole);
        assert!(kept.0.lock().unwrap().is_empty());
        let off = Tracer::new(None, Arc::new(Noon));
        assert_eq!(off.begin("whole", SpanKind::Server, Some(asked)).part("part").context(), Some(asked));
        assert_eq!(off.begin("whole", SpanKind::Server, None).context(), None);
        assert_eq!(tracer.go_on("part", SpanKind::Internal, None).context(), None);
    }

    #[test]
    fn what_is_over_already_has_the_times_that_it_is_given() {
        let (tracer, kept) = tracer();
        let began = OffsetDateTime::UNIX_EPOCH;
        tracer.begin("wait", SpanKind::Internal, None).lasted(began, began + Duration::hours(1));
        // A clock that went back.
        tracer.begin("wait", SpanKind::Internal, None).lasted(began, began - Duration::hours(1));
        let kept = kept.0.lock().unwrap();
        assert_eq!(kept[0].ended - kept[0].began, Duration::hours(1));
        assert_eq!(kept[1].ended, kept[1].began);
    }
}
