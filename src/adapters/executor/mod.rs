//! Where builds run. [`process`] is the executor that wiring takes: a plain process tree under a
//! guard, on Linux (it leans on subreapers, pidfds and `/proc`).
//!
//! It is no sandbox: a build has the worker's own user, files and network. What it promises is
//! that the build gets the environment and limits that it was given, and dies whole.
//!
//! Three processes make one build, all of them this same binary:
//!
//! ```text
//! worker --(one Unix socket: order, lifeline, report)--> guard --> launcher, which becomes the command
//!    ^--------------------(stdout and stderr, two pipes)---------------------------'
//! ```
//!
//! The guard ([`guard`]) outlives the command and kills all that descended from it, when the
//! command ends and when the worker's end of the socket closes, which the kernel does even for a
//! worker that was killed. The launcher (`launch`) limits itself and then becomes the command: a
//! sandbox's own steps belong there.
//!
//! Start with [`process`], then [`guard`], then `tree`.

pub mod guard;
mod launch;
mod lines;
mod orders;
pub mod process;
mod records;
mod tree;
