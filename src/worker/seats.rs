//! Places of a worker that builds take one at a time, each with what belongs to it alone, such as a user
//! (`ports::executor::Job::seat`). Start with [`Seats::take`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

pub struct Seats {
    free: Arc<Mutex<BTreeSet<u16>>>,
}

/// Free again when it is dropped.
pub struct Seat {
    number: u16,
    free: Arc<Mutex<BTreeSet<u16>>>,
}

impl Seats {
    pub fn new(count: u16) -> Self {
        Self { free: Arc::new(Mutex::new((0..count).collect())) }
    }

    /// The first that is free. `None`: all are taken.
    pub fn take(&self) -> Option<Seat> {
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop_first()?;
        Some(Seat { number, free: self.free.clone() })
    }
}

impl Seat {
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).insert(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_a_seat_that_is_taken() {
        let seats = Seats::new(2);
        let (first, second) = (seats.take().unwrap(), seats.take().unwrap());
        assert_eq!((first.number(), second.number()), (0, 1));
        assert!(seats.take().is_none());
        drop(first);
        assert_eq!(seats.take().map(|seat| seat.number()), Some(0));
    }
}
