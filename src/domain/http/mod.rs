//! Rules of HTTP that the edge answers by: which coding a visitor takes, what conditions and ranges
//! make of a file. Pure functions of the lines of a request's fields; who reads them off the wire,
//! and in which type, is not known here.
//!
//! Start with [`conditions::evaluate`], then [`accept_encoding::Accepted`].

pub mod accept_encoding;
pub mod conditions;
pub mod range;
