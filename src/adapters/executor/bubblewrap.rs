//! Holding a command by bubblewrap: namespaces in which there is nothing but the folders that it is
//! to have, at the paths that they have outside, and no network.
//!
//! The launcher becomes bubblewrap, which starts this binary again as the first process of the
//! namespace (`guard::init`), through a descriptor: where gv lies is not to be seen in there. What a
//! job is told is never in an argument or in bubblewrap's environment, which others could read; it
//! lies in a file in memory.
//!
//! Where the worker is root, builds run as a user of their own, who need not be able to enter the
//! folders above theirs: what is to be seen is first mounted where everybody gets to
//! ([`Stage`]). Start with [`become_bubblewrap`].

use super::landlock::ETC;
use super::orders::{self, Bubblewrap, Command, Hold, Order};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

/// Where the proxy's socket is, inside.
pub(super) const PROXY: &str = "/run/gv/proxy.sock";
const UID: &str = "1000";
/// Of memory, in bytes. Builds have `/tmp` on the disk, where their workspace has a folder for it.
const SHARED_MEMORY: &str = "67108864";
const TEMPORARY: &str = "268435456";
/// Folders of programs, which are links into /usr on most systems.
const PROGRAMS: &[&str] = &["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// Returns only where it fails, with the reason.
pub(super) fn become_bubblewrap(command: Command, hold: &Bubblewrap) -> String {
    match prepare(command, hold) {
        Ok(mut bubblewrap) => format!("bubblewrap: {}", bubblewrap.command.exec()),
        Err(reason) => reason,
    }
}

struct Prepared {
    command: std::process::Command,
    /// Open when bubblewrap begins.
    _files: Vec<OwnedFd>,
}

fn prepare(command: Command, hold: &Bubblewrap) -> Result<Prepared, String> {
    let stage = match command.account {
        Some(_) => Stage::set()?,
        None => None,
    };
    let mut arguments = Arguments { stage, list: Vec::new(), files: Vec::new() };
    arguments.namespaces(hold);
    arguments.system(&command)?;
    arguments.folders(&command, hold)?;
    if let Some(account) = command.account {
        super::launch::become_user(account)?;
    }
    let inner = Command { hold: Hold::Namespaces, account: None, group: None, ..command };
    let order = orders::line(&Order::Init(inner)).map_err(|error| error.to_string())?;
    let order = arguments.data(&order)?;
    let gv = File::open("/proc/self/exe").map_err(|error| format!("gv cannot be read: {error}"))?;
    let gv = arguments.keep(gv.into())?;
    arguments.add(["--remount-ro", "/", "--chdir", "/", "--"]);
    arguments.list.extend([format!("/proc/self/fd/{gv}").into(), "guard".into(), order.to_string().into()]);
    let mut bubblewrap = std::process::Command::new(&hold.program);
    bubblewrap.args(&arguments.list).env_clear();
    Ok(Prepared { command: bubblewrap, _files: arguments.files })
}

struct Arguments {
    stage: Option<Stage>,
    list: Vec<OsString>,
    files: Vec<OwnedFd>,
}

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.list.extend(words.map(OsString::from));
    }

    fn namespaces(&mut self, hold: &Bubblewrap) {
        self.add(["--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-net"]);
        self.add(["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--as-pid-1"]);
        self.add(["--cap-drop", "ALL", "--clearenv", "--hostname", "gv-build", "--uid", UID, "--gid", UID]);
        if hold.forbids_namespaces {
            self.add(["--disable-userns"]);
        }
    }

    /// What every program needs around it.
    fn system(&mut self, command: &Command) -> Result<(), String> {
        self.add(["--ro-bind", "/usr", "/usr"]);
        for folder in PROGRAMS {
            match fs::read_link(folder) {
                Ok(link) => self.list.extend(["--symlink".into(), link.into(), folder.into()]),
                Err(_) => self.add(["--ro-bind-try", folder, folder]),
            }
        }
        for path in ETC {
            self.add(["--ro-bind-try", path, path]);
        }
        let home = command.env.iter().rev().find(|(name, _)| name == "HOME");
        let home = home.map_or("/", |(_, home)| home.as_str()).replace([':', '\n'], "_");
        for (path, text) in [
            ("/etc/passwd", format!("build:x:{UID}:{UID}:build:{home}:/bin/sh\n")),
            ("/etc/group", format!("build:x:{UID}:\n")),
            ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n".to_owned()),
            ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n".to_owned()),
            ("/etc/resolv.conf", String::new()),
        ] {
            let file = self.data(text.as_bytes())?.to_string();
            self.add(["--ro-bind-data", &file, path]);
        }
        self.add(["--proc", "/proc", "--dev", "/dev", "--size", SHARED_MEMORY, "--tmpfs", "/dev/shm"]);
        self.add(["--remount-ro", "/dev"]);
        Ok(())
    }

    /// Parents before what lies in them: what is mounted later hides what was there.
    fn folders(&mut self, command: &Command, hold: &Bubblewrap) -> Result<(), String> {
        let workspace = Path::new(&command.workspace);
        match temporary(command) {
            Some(folder) => self.bind("--bind", &folder, Path::new("/tmp"))?,
            None => self.add(["--size", TEMPORARY, "--tmpfs", "/tmp"]),
        }
        for path in &command.readable {
            self.bind("--ro-bind", Path::new(path), Path::new(path))?;
        }
        self.bind("--bind", workspace, workspace)?;
        for path in &command.caches {
            self.bind("--bind", Path::new(path), Path::new(path))?;
        }
        if let Some(socket) = &hold.proxy {
            self.bind("--ro-bind", Path::new(socket), Path::new(PROXY))?;
        }
        Ok(())
    }

    fn bind(&mut self, how: &str, from: &Path, to: &Path) -> Result<(), String> {
        let failed = |error: Errno| format!("{} cannot be shown to the build: {error}", from.display());
        let from = match &mut self.stage {
            Some(stage) => stage.show(from).map_err(failed)?,
            None => from.to_owned(),
        };
        self.list.extend([how.into(), from.into(), to.into()]);
        Ok(())
    }

    /// The number of a file in memory that holds `text`.
    fn data(&mut self, text: &[u8]) -> Result<i32, String> {
        let failed = |error: io::Error| format!("no file in memory: {error}");
        let file =
            rustix::fs::memfd_create("gv", MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        let mut file = File::from(file);
        file.write_all(text).map_err(failed)?;
        io::Seek::rewind(&mut file).map_err(failed)?;
        self.keep(file.into())
    }

    /// The number under which bubblewrap has a file.
    fn keep(&mut self, file: OwnedFd) -> Result<i32, String> {
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())
            .map_err(|error| format!("a file cannot be passed on: {error}"))?;
        let number = file.as_raw_fd();
        self.files.push(file);
        Ok(number)
    }
}

/// The folder in the workspace that the command is told to keep temporary files in: it is `/tmp`,
/// too, for programs that do not listen.
fn temporary(command: &Command) -> Option<PathBuf> {
    let (_, path) = command.env.iter().rev().find(|(name, _)| name == "TMPDIR")?;
    let inner = Path::new(path).strip_prefix(&command.workspace).ok()?;
    // A build of an earlier command may have put a link in its place.
    let workspace = open(Path::new(&command.workspace)).ok()?;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(&workspace, inner, flags, Mode::empty(), how).ok()?;
    Some(PathBuf::from(path))
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// A folder that everybody can enter, in a mount namespace of this process alone, in which folders
/// are shown that not everybody can get to.
struct Stage {
    shown: u32,
}

/// It is on every Linux, everybody may enter it, and no build sees it.
const STAGE: &str = "/sys";

impl Stage {
    /// `None`: this root may not mount anything, so paths have to do as they are.
    fn set() -> Result<Option<Self>, String> {
        #[expect(unsafe_code, reason = "the one call for it; other flags than this one are dangerous")]
        // SAFETY: a mount namespace shares no memory and no descriptors with anybody, and this
        // process has one thread.
        let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) };
        match unshared {
            Ok(()) => {}
            Err(Errno::PERM) => return Ok(None),
            Err(error) => return Err(format!("no mount namespace: {error}")),
        }
        let failed = |error: Errno| format!("no stage for what builds may see: {error}");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).map_err(failed)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("tmpfs", STAGE, "tmpfs", flags, c"mode=755").map_err(failed)?;
        Ok(Some(Self { shown: 0 }))
    }

    fn show(&mut self, path: &Path) -> Result<PathBuf, Errno> {
        let place = Path::new(STAGE).join(self.shown.to_string());
        self.shown += 1;
        let is_folder = rustix::fs::FileType::from_raw_mode(rustix::fs::stat(path)?.st_mode).is_dir();
        if is_folder {
            rustix::fs::mkdir(&place, Mode::from_raw_mode(0o755))?;
        } else {
            rustix::fs::open(
                &place,
                OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o644),
            )?;
        }
        rustix::mount::mount_bind_recursive(path, &place)?;
        Ok(place)
    }
}

/// Whether this bubblewrap knows how to forbid namespaces within (since 0.8).
pub(super) fn forbids_namespaces(program: &OsStr) -> bool {
    let help = std::process::Command::new(program).arg("--help").env_clear().output();
    help.is_ok_and(|help| {
        let words = [help.stdout, help.stderr].concat();
        words.windows(16).any(|word| word == b"--disable-userns")
    })
}
