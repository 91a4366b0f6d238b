//! Tools from a registry of npm packages, in a folder that several workers of a machine may share.
//!
//! `registry` knows what there is and downloads it, `unpack` turns an archive into a folder,
//! `store` keeps the folders: one of them is made at a time, appears whole or not at all, and goes
//! when there is no room and nobody uses it. Start with [`registry::RegistryTools`].

mod names;
pub mod registry;
mod store;
mod unpack;
mod web;
