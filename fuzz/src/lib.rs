//! What the fuzz targets share: gv's domain, as it stands in the main crate, and a small site that
//! rules are tried on.
//!
//! A target reads one text and states what must hold for any. Start with [`site`].

#[path = "../../src/domain/mod.rs"]
pub mod domain;
pub mod site;
