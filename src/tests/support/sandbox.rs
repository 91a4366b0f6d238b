//! The ways to hold builds, made for tests: the same executors that wiring makes, without its choice.

use gv::adapters::executor::egress::Egress;
use gv::adapters::executor::process::{GuardProgram, Place, ProcessExecutor};
use gv::domain::address::AllowedHost;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Whom builds run as when the tests run as root.
pub const BUILD_USER: u32 = 60600;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    UnsafeNone,
    Bubblewrap,
    Landlock,
}

pub fn gv_guard() -> GuardProgram {
    GuardProgram { path: env!("CARGO_BIN_EXE_gv").into(), args: vec!["guard".to_owned()] }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// An executor that keeps its things in `folder`, which builds of another user may pass through.
pub fn place(folder: &Path) -> Place {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    Place {
        guard: gv_guard(),
        records: folder.join("records"),
        readable: Vec::new(),
        first_user: is_root().then_some(BUILD_USER),
        seats: 1,
        groups: None,
    }
}

/// `allowed`: what builds may contact beside public addresses; `None`: no network at all.
pub fn executor(mode: Mode, folder: &Path, allowed: Option<&[String]>) -> ProcessExecutor {
    let allowed = allowed.map(|hosts| hosts.iter().map(|host| AllowedHost::parse(host).unwrap()).collect());
    let place = place(folder);
    match mode {
        Mode::UnsafeNone => ProcessExecutor::unsafe_none(place),
        Mode::Bubblewrap => {
            let egress = allowed.map(|hosts| Egress::by_socket(folder.join("egress"), hosts));
            ProcessExecutor::bubblewrap(place, &bwrap(), egress)
        }
        Mode::Landlock => {
            let egress = allowed.map(Egress::by_port);
            ProcessExecutor::landlock(place, egress)
        }
    }
}

fn bwrap() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("bwrap")).find(|program| program.is_file());
    found.expect("bwrap is not installed: scripts/test installs it")
}
