//! How far a fetch is: counters that the work moves, and the words that they make for the log.
//!
//! The work counts and nothing else; whoever watches asks for [`Counters::words`] as often as it
//! likes. Start there.

use gix::progress::{Id, MessageLevel, Step, StepShared, Unit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Shared by the thread that works and the task that watches.
#[derive(Default)]
pub(super) struct Counters {
    /// Bytes that came over the network.
    pub(super) received_bytes: AtomicU64,
    pub(super) objects: StepShared,
    pub(super) objects_total: AtomicUsize,
    pub(super) files: StepShared,
    pub(super) files_total: AtomicUsize,
    pub(super) checking_out: AtomicBool,
}

impl Counters {
    /// What to tell a person now; empty before there is anything.
    pub(super) fn words(&self) -> String {
        if self.checking_out.load(Relaxed) {
            let (done, total) = (self.files.load(Relaxed), self.files_total.load(Relaxed));
            return format!("Checking out files: {}% ({done}/{total})", percent(done, total));
        }
        let (done, total) = (self.objects.load(Relaxed), self.objects_total.load(Relaxed));
        if total == 0 {
            return String::new();
        }
        let bytes = size(self.received_bytes.load(Relaxed));
        format!("Receiving objects: {}% ({done}/{total}), {bytes}", percent(done, total))
    }

    /// What was received in all, once it was.
    pub(super) fn received(&self) -> String {
        let objects = self.objects_total.load(Relaxed);
        format!("Received {objects} objects, {}", size(self.received_bytes.load(Relaxed)))
    }
}

fn percent(done: usize, total: usize) -> usize {
    done.saturating_mul(100).checked_div(total).unwrap_or(100).min(100)
}

fn size(bytes: u64) -> String {
    let kib = bytes as f64 / 1024.0;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{kib:.1} KiB"),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", kib / 1024.0),
        _ => format!("{:.2} GiB", kib / 1024.0 / 1024.0),
    }
}

/// What gix reports to: of all its steps only the objects that arrive are counted.
pub(super) struct Tally {
    counters: Arc<Counters>,
    step: StepShared,
    id: Id,
}

/// gix's own id of the count of objects as they arrive.
const ARRIVED: gix::odb::pack::index::write::ProgressId =
    gix::odb::pack::index::write::ProgressId::IndexObjects;

impl Tally {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { counters, step: StepShared::default(), id: gix::progress::UNKNOWN }
    }

    /// Counts into `step`.
    pub(super) fn of(counters: Arc<Counters>, step: StepShared) -> Self {
        Self { counters, step, id: gix::progress::UNKNOWN }
    }
}

impl gix::Count for Tally {
    fn set(&self, step: Step) {
        self.step.store(step, Relaxed);
    }

    fn step(&self) -> Step {
        self.step.load(Relaxed)
    }

    fn inc_by(&self, step: Step) {
        self.step.fetch_add(step, Relaxed);
    }

    fn counter(&self) -> StepShared {
        self.step.clone()
    }
}

impl gix::Progress for Tally {
    fn init(&mut self, max: Option<Step>, _unit: Option<Unit>) {
        if self.id == Id::from(ARRIVED) {
            self.counters.objects_total.store(max.unwrap_or_default(), Relaxed);
        }
    }

    fn set_name(&mut self, _name: String) {}

    fn name(&self) -> Option<String> {
        None
    }

    fn id(&self) -> Id {
        self.id
    }

    /// A server's chatter is not passed on: it could say anything in gv's name.
    fn message(&self, _level: MessageLevel, _message: String) {}
}

impl gix::NestedProgress for Tally {
    type SubProgress = Self;

    fn add_child(&mut self, _name: impl Into<String>) -> Self {
        Self::new(self.counters.clone())
    }

    fn add_child_with_id(&mut self, _name: impl Into<String>, id: Id) -> Self {
        let counters = self.counters.clone();
        let step = if id == Id::from(ARRIVED) { counters.objects.clone() } else { StepShared::default() };
        Self { counters, step, id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_what_is_being_done_and_how_far_it_is() {
        let counters = Counters::default();
        assert_eq!(counters.words(), "");
        counters.objects_total.store(1000, Relaxed);
        counters.objects.store(630, Relaxed);
        counters.received_bytes.store(1_258_291, Relaxed);
        assert_eq!(counters.words(), "Receiving objects: 63% (630/1000), 1.2 MiB");
        counters.checking_out.store(true, Relaxed);
        counters.files_total.store(3, Relaxed);
        counters.files.store(1, Relaxed);
        assert_eq!(counters.words(), "Checking out files: 33% (1/3)");
    }
}
