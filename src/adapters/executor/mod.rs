//! Where builds run: as process trees of the worker's machine, each under a guard and held by a
//! sandbox, on Linux (it leans on subreapers, pidfds and `/proc`). Wiring takes what [`choice`] finds.
//!
//! | mode | a build has | its way out |
//! | --- | --- | --- |
//! | `bubblewrap` | namespaces with its own folders in them, and a filter of system calls | a Unix socket, the only thing in there that leads out |
//! | `landlock` | the machine's namespaces, of which it may use little, and the same filter | TCP to one port |
//! | `unsafe-none` | whatever the worker has | the network |
//!
//! In all of them it gets the environment and limits that it was given, and dies whole; paths are
//! the same inside and outside. The way out leads to a proxy in the worker (`egress`).
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
//! worker that was killed; meanwhile it looks at what they use together (`usage`, `disk`, `nameless`; the kernel
//! does too, where the operator has a `cgroup` for it). The
//! launcher (`launch`) limits and holds itself and then becomes the command.
//!
//! With bubblewrap the launcher becomes bubblewrap, and the same begins anew inside: the first
//! process of the namespace is a small guard (`guard::init`) with a launcher of its own.
//!
//! Start with [`process`], then [`guard`], then `launch`.

mod bubblewrap;
pub mod cgroup;
pub mod choice;
mod disk;
pub mod egress;
mod forwarder;
pub mod guard;
mod landlock;
mod launch;
mod lines;
mod nameless;
mod orders;
pub mod process;
mod records;
mod seccomp;
mod tree;
mod usage;
