//! Does one action so many times, for callgrind, which counts the instructions of a whole program: the
//! difference between two runs is that of the action.
//!
//!     instructions                    the names of the actions
//!     instructions NAME TIMES

use gv_micro::Measure;
use std::hint::black_box;

/// The actions asked for, and how often; without them, all are listed.
struct Counted(Option<(String, u64)>);

impl Measure for Counted {
    fn measure<A: FnMut() -> R, R>(&mut self, name: &str, prepare: impl FnOnce() -> A) {
        match &self.0 {
            None => println!("{name}"),
            Some((wanted, times)) if wanted == name => {
                let mut action = prepare();
                for _ in 0..*times {
                    black_box(action());
                }
            }
            Some(_) => {}
        }
    }
}

fn main() {
    let mut words = std::env::args().skip(1);
    let wanted = words.next().zip(words.next().and_then(|times| times.parse().ok()));
    gv_micro::all(&mut Counted(wanted));
}
