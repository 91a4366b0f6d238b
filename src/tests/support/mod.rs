//! What tests share: databases of their own, a Git server, Redis servers that suffer, a running gv.

pub mod database;
pub mod git;
pub mod gv;
pub mod redis;
pub mod services;
