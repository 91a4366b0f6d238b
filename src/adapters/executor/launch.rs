//! The last step before a command: a process that limits itself and then becomes it.
//!
//! Limits, session and death signal are set by the process on itself, which needs no code between
//! fork and exec. So are Landlock and the filter of system calls; for bubblewrap it becomes that
//! first, and this file's work is done once more inside. Start with [`become_command`].

use super::orders::{self, Command, Hold, Limits, Report};
use super::seccomp::{self, Network};
use super::{bubblewrap, cgroup, disk, landlock};
use rustix::fs::{Gid, Mode, Uid};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, Signal, getppid, getrlimit, setrlimit};
use rustix::process::{set_parent_process_death_signal, setsid, umask};
use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};

/// Does not return when all goes well. Else it says why on the socket, which is closed unread
/// when the command takes over.
pub(super) fn become_command(command: Command, guard: i32, socket: &UnixStream) -> ExitCode {
    let report = match prepare(&command, guard) {
        Err(reason) => Report::Failed(reason),
        Ok(()) => match command.hold.clone() {
            Hold::Bubblewrap(hold) => Report::Failed(bubblewrap::become_bubblewrap(command, &hold)),
            hold => match hold_here(&command, &hold) {
                Err(reason) => Report::Failed(reason),
                Ok(()) => exec(&command),
            },
        },
    };
    let _ = orders::send(socket, &report);
    ExitCode::FAILURE
}

fn exec(command: &Command) -> Report {
    // SIGPIPE and the signal mask are the standard library's to reset; the rest is inherited,
    // and a worker catches signals, which exec undoes, instead of ignoring them.
    let error = std::process::Command::new(&command.program)
        .args(&command.args)
        .env_clear()
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .exec();
    explain(command, &error)
}

fn prepare(command: &Command, guard: i32) -> Result<(), String> {
    let failed = |what: &'static str| move |error| format!("{what}: {error}");
    die_with_parent()?;
    // A guard that died before that line cannot send the signal.
    if getppid().map(|parent| parent.as_raw_pid()) != Some(guard) {
        return Err("its guard died".to_owned());
    }
    setsid().map_err(|error| format!("no session: {error}"))?;
    // sudo and the like would give a build processes that its guard may not kill.
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("privileges stay open: {error}"))?;
    umask(Mode::WGRP | Mode::WOTH);
    // When memory ends, the kernel is to end a build, not the worker. Not every container allows it.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    close_on_exec().map_err(failed("inherited files stay open"))?;
    if let Some(group) = &command.group {
        cgroup::enter(Path::new(group))?;
    }
    if let Some(account) = command.account {
        for folder in command.writable() {
            disk::give(Path::new(folder), account)
                .map_err(|error| format!("{} cannot be given to it: {error}", Path::new(folder).display()))?;
        }
    }
    Ok(())
}

fn die_with_parent() -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("no death signal: {error}"))
}

/// Holds this process, which then becomes the command.
fn hold_here(command: &Command, hold: &Hold) -> Result<(), String> {
    let network = match hold {
        Hold::Landlock { proxy_port } => Some(landlock::restrict(command, *proxy_port)?),
        Hold::Namespaces => Some(Network::Own),
        Hold::Nothing | Hold::Bubblewrap(_) => None,
    };
    if let Some(account) = command.account {
        become_user(account)?;
    }
    enter(command)?;
    limit(command.limits).map_err(|error| format!("limits cannot be set: {error}"))?;
    network.map_or(Ok(()), seccomp::apply)
}

/// Gives up root for good. This process has one thread.
pub(super) fn become_user(user: u32) -> Result<(), String> {
    let failed = |error| format!("it cannot become user {user}: {error}");
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    rustix::thread::set_thread_groups(&[]).map_err(failed)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed)?;
    // The kernel forgot it with the old user.
    die_with_parent()
}

/// A repository may hold a symbolic link where a folder was named.
fn enter(command: &Command) -> Result<(), String> {
    let dir = Path::new(&command.dir);
    let failed = |error: io::Error| format!("its folder {}: {error}", dir.display());
    let workspace = fs::canonicalize(&command.workspace).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                ": the user of builds may not pass a folder above it, so worker.dir must be elsewhere"
            }
            _ => "",
        };
        format!("the workspace {}: {error}{hint}", Path::new(&command.workspace).display())
    })?;
    std::env::set_current_dir(dir).map_err(failed)?;
    if std::env::current_dir().map_err(failed)?.starts_with(workspace) {
        return Ok(());
    }
    Err(format!("its folder {} leads out of the workspace", dir.display()))
}

fn limit(limits: Limits) -> io::Result<()> {
    let wanted = [
        (Resource::Core, 0),
        (Resource::Data, limits.process_bytes),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Nofile, limits.open_files),
        // Root is exempt from this one: the kernel counts only those that have no such rights.
        (Resource::Nproc, limits.user_processes),
    ];
    for (resource, most) in wanted {
        // Only root may go above what the worker itself was allowed.
        let allowed = getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
        setrlimit(resource, Rlimit { current: Some(allowed), maximum: Some(allowed) })?;
    }
    Ok(())
}

/// The standard library opens every file for this process alone; what a supervisor or a C library
/// opened for the worker may still be here, and is no build's business.
fn close_on_exec() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let number: Option<RawFd> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|number| *number > 2) {
            #[expect(unsafe_code, reason = "no safe way leads from a descriptor's number to it")]
            // SAFETY: the folder just listed the number as open (its own descriptor included, which
            // lives as long as the loop), nothing closes it meanwhile in a process of one thread,
            // and the borrow ends with the statement.
            let inherited = unsafe { BorrowedFd::borrow_raw(number) };
            fcntl_setfd(inherited, FdFlags::CLOEXEC)?;
        }
    }
    Ok(())
}

fn explain(command: &Command, error: &io::Error) -> Report {
    let program = &command.program;
    let path = command.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| path);
    let is_in = |dir: &Path| dir.join(program).is_file();
    let is_there = if program.contains('/') {
        Path::new(program).exists()
    } else {
        path.is_some_and(|path| std::env::split_paths(path).any(|dir| is_in(&dir)))
    };
    match error.kind() {
        // A folder of its PATH is closed to it: what may lie there is as good as absent.
        io::ErrorKind::PermissionDenied if !is_there && !program.contains('/') => {
            Report::Missing(program.clone())
        }
        io::ErrorKind::NotFound if !is_there => Report::Missing(program.clone()),
        // The kernel says the same of a script whose first line names what is not there.
        io::ErrorKind::NotFound => {
            Report::Failed(format!("{program} is there, but the interpreter that it names is not"))
        }
        _ => Report::Failed(format!("{program}: {error}")),
    }
}
