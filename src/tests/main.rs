//! Every test that needs more than its own module, in one binary.
//!
//! `ports`: the contract suites, each run on every adapter. `behaviour`: gv as its users meet it,
//! over HTTP, against a real `gv up`. `faults`: a fleet of real roles on real services that go wrong.
//! `edge`: the edge alone, over real stores. `certificates`: what edges get from a real authority. `tidy`: what the
//! compiler cannot see. `metrics`: what is counted is what is documented. `support`: what these share. Where `GV_TEST_DATABASE_URL` names a PostgreSQL server, databases are made there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]
#![allow(clippy::print_stdout, reason = "a failing test shows what it measured and its seed")]

mod behaviour;
mod certificates;
mod edge;
mod faults;
mod metrics;
mod ports;
mod support;
mod tidy;
mod use_cases;
