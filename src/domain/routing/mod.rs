//! The rules that people already wrote: vercel's, Netlify's, Cloudflare's, and what static hosts
//! have in common. Read once, when a site is deployed; the edge reads nothing of a user's.
//!
//! At deploy: [`sources`] are the files, [`dialect`] says whose rules count, [`compile`] reads them
//! (`redirects`, `headers`, `netlify_toml`, `vercel_json`) into [`rules`], which lie in the manifest.
//! At the edge: [`resolve`] goes through the rules and the [`files`] in the order of the dialect.
//! Nothing here is run without a bound: see [`matcher`]. Start with [`compile`], then [`resolve`].

pub mod answer_fields;
pub mod compile;
pub mod conditions;
pub mod dialect;
pub mod files;
pub mod headers;
mod javascript;
mod json_node;
mod lines;
pub mod matcher;
pub mod netlify_toml;
pub mod path_to_regexp;
pub mod pattern;
pub mod redirects;
pub mod request;
pub mod resolve;
pub mod rules;
pub mod sources;
pub mod target;
pub mod trace;
mod vercel_destination;
pub mod vercel_json;
mod vercel_urls;

#[cfg(test)]
mod spec;
