//! The package registry that this machine uses: whoever runs the tests may have a mirror on a
//! private address, which builds reach by `worker.egress_allow` alone.

use std::process::Command;

pub struct Mirror {
    url: String,
}

impl Mirror {
    pub fn of_this_machine() -> Self {
        let asked = Command::new("npm").args(["config", "get", "registry"]).output();
        let asked = asked.expect("npm is not installed: scripts/test installs it");
        Self { url: String::from_utf8(asked.stdout).unwrap().trim().to_owned() }
    }

    /// As exact `host:port`.
    pub fn hosts(&self) -> Vec<String> {
        let url = url::Url::parse(&self.url).unwrap();
        vec![gv::domain::address::place(&url).unwrap()]
    }

    pub fn variables(&self) -> Vec<(String, String)> {
        vec![("npm_config_registry".to_owned(), self.url.clone())]
    }
}
