//! What tests share: databases of their own, a Git server, a registry, a running gv, proxies that go wrong.

pub mod account;
pub mod balancer;
pub mod chance;
pub mod collector;
pub mod database;
pub mod fault_proxy;
pub mod fleet;
pub mod free_port;
pub mod git;
pub mod gv;
pub mod mirror;
pub mod name_server;
pub mod pebble;
pub mod process;
pub mod rabbitmq;
pub mod redis;
pub mod registry;
pub mod s3_proxy;
pub mod sandbox;
pub mod services;
pub mod statements;
