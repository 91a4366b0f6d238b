//! Times every action, and says what a site of 100,000 files takes in memory.

use criterion::Criterion;
use gv_micro::{Measure, files};

struct Timed(Criterion);

impl Measure for Timed {
    fn measure<A: FnMut() -> R, R>(&mut self, name: &str, prepare: impl FnOnce() -> A) {
        // What is left out by a filter is not prepared.
        let (mut prepare, mut action) = (Some(prepare), None::<A>);
        self.0.bench_function(name, |bencher| {
            if let Some(prepare) = prepare.take() {
                action = Some(prepare());
            }
            if let Some(action) = &mut action {
                bencher.iter(&mut *action);
            }
        });
    }
}

fn main() {
    println!("{}", files::memory(100_000));
    let mut timed = Timed(Criterion::default().configure_from_args());
    gv_micro::all(&mut timed);
    timed.0.final_summary();
}
