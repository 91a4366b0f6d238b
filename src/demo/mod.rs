//! The sample site of `gv up --demo`, and the small Git server that it is cloned from.
//!
//! The demo goes the ordinary way: a repository, a URL, `POST /api/v1/deployments`, a clone. So
//! that nothing needs to be installed, the repository is made in memory ([`repository`]) and served
//! read-only by Git's smart protocol on loopback ([`server`]).

mod repository;
pub mod server;

/// The files of the sample site. None of them is in a folder.
const SITE: &[(&str, &[u8])] = &[
    ("404.html", include_bytes!("site/404.html")),
    ("index.html", include_bytes!("site/index.html")),
    ("logo.svg", include_bytes!("site/logo.svg")),
    ("style.css", include_bytes!("site/style.css")),
];
