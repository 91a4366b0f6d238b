//! `gv health`: asks the process of this configuration, on this machine, how it is. For health checks of
//! containers, pods and units, which have nothing else to ask with.

use super::ConfigArgs;
use super::config::load_or_explain;
use crate::config::layers::Outside;
use crate::ops::ROLE;
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

/// A process that takes longer to say how it is is not well.
const PATIENCE: Duration = Duration::from_secs(5);

pub const EXPLAINED: &str =
    "It asks http://<ops.listen>/healthz, and with --ready /readyz, of the configuration that it is
started with: that of the process which it asks, port and all.

  gv health             does it live? What restarts a process asks this: a restart mends no database
  gv health api         ... and is it a gv api? `up` is a gv up, which is none of the others
  gv health edge --ready
                        can it do its work? For its start, for load balancers, for people: it prints
                        what is missing, and says no from SIGTERM on (ops.withdraw_s)

Exit code 0: yes. 1: no, or nobody answers within 5 s, or it is another role, and standard error says which.";

#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Whose health is asked for; left out, that of whichever role answers.
    pub role: Option<AskedRole>,
    /// Ask whether it can do its work, not only whether it lives.
    #[arg(long)]
    pub ready: bool,
}

/// What a process that has an operator's listener can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AskedRole {
    Api,
    Worker,
    Edge,
    Up,
}

impl fmt::Display for AskedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Edge => "edge",
            Self::Up => "up",
        })
    }
}

pub fn health(args: &ConfigArgs, health: &HealthArgs) -> anyhow::Result<ExitCode> {
    let config = load_or_explain(&Outside::of_process(args.config.clone()))?.config;
    let listen = config.ops.listen.context("ops.listen is empty: the process cannot be asked")?;
    anyhow::ensure!(listen.port() != 0, "ops.listen has port 0: set the port that the process printed");
    let address = on_this_machine(listen);
    let path = if health.ready { "readyz" } else { "healthz" };
    // One question: a thread for each core would take longer to start than the answer does.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let answer = client.get(format!("http://{address}/{path}")).send().await;
        let answer = answer.with_context(|| format!("nothing answers at {address}"))?;
        if let Some(asked) = health.role {
            let found = answer.headers().get(ROLE).and_then(|role| role.to_str().ok());
            expect_role(address, asked, found)?;
        }
        let healthy = answer.status().is_success();
        write!(std::io::stdout(), "{}", answer.text().await?)?;
        Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Where a process that listens everywhere is reached from here.
fn on_this_machine(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        let here: IpAddr =
            if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        listen.set_ip(here);
    }
    listen
}

fn expect_role(address: SocketAddr, asked: AskedRole, found: Option<&str>) -> anyhow::Result<()> {
    let found = found.with_context(|| {
        format!("what answers at {address} is no gv {asked}: it does not say which role it has")
    })?;
    anyhow::ensure!(
        found == asked.to_string(),
        "what answers at {address} is gv {found}, not gv {asked}: processes of one machine need an ops.listen \
         each (GV_OPS__LISTEN)"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_everywhere_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.0.0.7:9090", "10.0.0.7:9090"),
        ] {
            assert_eq!(on_this_machine(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[test]
    fn another_role_is_named_and_so_is_what_is_no_gv() {
        let address = "127.0.0.1:9090".parse().unwrap();
        assert!(expect_role(address, AskedRole::Edge, Some("edge")).is_ok());
        let other = expect_role(address, AskedRole::Edge, Some("worker")).unwrap_err().to_string();
        assert!(other.contains("is gv worker, not gv edge"), "{other}");
        let stranger = expect_role(address, AskedRole::Api, None).unwrap_err().to_string();
        assert!(stranger.contains("is no gv api"), "{stranger}");
    }
}
