//! What gv's pure rules cost, one at a time: the domain as it stands in the main crate, and the
//! actions on it that are timed.
//!
//! An action is written once ([`files`], [`requests`], [`routing`]) and given to whoever measures:
//! Criterion times it (`benches/rules.rs`), callgrind counts its instructions (`instructions.rs`).
//! Start with [`all`]; [`site`] makes what the actions work on.

#[path = "../../../src/domain/mod.rs"]
pub mod domain;
pub mod files;
pub mod requests;
pub mod routing;
pub mod site;

/// Whoever measures.
pub trait Measure {
    /// Measures one action, or leaves it out. `name` is `group/case`. What `prepare` takes is not
    /// measured, and not done for an action that is left out.
    fn measure<A: FnMut() -> R, R>(&mut self, name: &str, prepare: impl FnOnce() -> A);
}

/// Every action.
pub fn all(measure: &mut impl Measure) {
    files::all(measure);
    requests::all(measure);
    routing::all(measure);
}

/// The places of a list in turn, for ever: one key again and again would be measured with a processor
/// that has learned its way.
pub fn in_turn(length: usize) -> impl FnMut() -> usize {
    let mut next = 0;
    move || {
        next = (next + 1) % length;
        next
    }
}
