//! Holding a command by Landlock, where namespaces cannot be had: inside containers.
//!
//! The process gives up, for itself and all that it starts, every file but those listed here, and
//! TCP but to the proxy's port. It sees the machine's processes, but cannot signal, trace or read
//! them. What Landlock does not know of, the filter of system calls takes (`seccomp`). Start with
//! [`restrict`].

use super::orders::Command;
use super::seccomp::Network;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope, path_beneath_rules,
};
use std::path::PathBuf;

/// What any program may read: itself, its libraries, what the system is like.
const READABLE: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
];
/// Of `/etc`, in which an operator keeps secrets as well; bubblewrap takes the same.
pub(super) const ETC: &[&str] = &[
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/fonts",
    "/etc/os-release",
    "/etc/protocols",
    "/etc/services",
];
/// What names users and hosts; within bubblewrap small files take their place.
const NAMES: &[&str] = &["/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf"];
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Files are held since 5.13, TCP since 6.7.
const FILES: ABI = ABI::V3;
const NETWORK: ABI = ABI::V4;
/// Signals and abstract Unix sockets are, since 6.12.
const SCOPES: ABI = ABI::V6;
/// All that is asked for where a kernel has it.
const NEWEST: ABI = ABI::V6;

/// Holds this thread and all that it starts from now on. What the network still offers is for the
/// filter of system calls to know.
pub(super) fn restrict(command: &Command, proxy_port: Option<u16>) -> Result<Network, String> {
    let failed = |error: landlock::RulesetError| format!("Landlock: {error}");
    let has_scopes = has_scopes();
    if !has_scopes && command.account.is_none() {
        return Err(
            "Landlock of this kernel does not hold signals, and builds would run as the worker's own user: \
                    Linux 6.12 does, or run the worker as root, which gives builds a user of their own"
                .to_owned(),
        );
    }
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(FILES))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(NETWORK)))
        .map_err(|error| {
            format!("Landlock of this kernel does not hold files and TCP (Linux 6.7 does): {error}")
        })?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(SCOPES)))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    let readable = READABLE.iter().chain(ETC).chain(NAMES).map(PathBuf::from);
    let readable = readable.chain(command.readable.iter().map(PathBuf::from));
    let devices = DEVICES.iter().map(PathBuf::from);
    let writable = command.writable().map(PathBuf::from);
    // Absent paths are left out.
    ruleset = ruleset
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(NEWEST)))
        .and_then(|ruleset| {
            ruleset.add_rules(path_beneath_rules(devices, AccessFs::ReadFile | AccessFs::WriteFile))
        })
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(writable, AccessFs::from_all(NEWEST))))
        .map_err(failed)?;
    if let Some(port) = proxy_port {
        ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp)).map_err(failed)?;
    }
    let status = ruleset.restrict_self().map_err(failed)?;
    if !status.no_new_privs || status.ruleset == landlock::RulesetStatus::NotEnforced {
        return Err("Landlock is there but holds nothing".to_owned());
    }
    Ok(Network::Shared { unix: has_scopes })
}

fn has_scopes() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.scope(Scope::from_all(SCOPES)).and_then(Ruleset::create).is_ok()
}
