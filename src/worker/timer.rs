//! How long the steps of an attempt take: as figures, and as spans of the deployment's trace.

use crate::ports::traces::Span;
use crate::worker::failure::Step;
use crate::worker::plan::Command;
use std::time::Instant;

/// Said of a part of an attempt that ended the attempt. Why is said of that.
pub const UNFINISHED: &str = "unfinished";

/// Commands of one kind, as a part of their step. Without any there is none.
pub async fn in_span<T>(
    step: &Span,
    name: &'static str,
    commands: &[&Command],
    running: impl Future<Output = Step<T>>,
) -> Step<T> {
    let mut span = if commands.is_empty() { Span::NONE } else { step.part(name) };
    running.await.inspect_err(|_| span.fail(UNFINISHED))
}

/// Measures a step that came to its end.
pub struct Timer {
    step: &'static str,
    began: Instant,
    pub span: Span,
    has_ended: bool,
}

impl Timer {
    pub fn start(step: &'static str, attempt: &Span) -> Self {
        Self { step, began: Instant::now(), span: attempt.part(step), has_ended: false }
    }

    pub fn stop(mut self) {
        self.has_ended = true;
        metrics::histogram!("gv_deployment_step_seconds", "step" => self.step)
            .record(self.began.elapsed().as_secs_f64());
    }

    /// There was no need to go through with it.
    pub fn leave(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if !self.has_ended {
            self.span.fail(UNFINISHED);
        }
    }
}
