//! Where sources come from: Git over http and https.
//!
//! Not here: what is done with a source once it is checked out. Start with [`git`], which runs a
//! fetch and ends it in time; [`clone`] is what happens within; [`guard`] decides which addresses
//! may be contacted and [`wire`] holds to it; [`tree`] measures what would be checked out before
//! anything is. [`modules`] are repositories in a repository, [`large_files`] what Git LFS keeps.

mod clone;
mod exchange;
mod faults;
pub mod git;
pub mod guard;
mod large_files;
mod modules;
mod progress;
mod refs;
mod tree;
mod wire;
