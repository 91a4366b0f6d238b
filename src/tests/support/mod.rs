//! What tests share: databases of their own, a Git server, a running gv.

pub mod database;
pub mod git;
pub mod gv;
pub mod services;
