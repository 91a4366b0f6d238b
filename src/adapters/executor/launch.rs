//! The last step before a command: a process that limits itself and then becomes it.
//!
//! Limits, session and death signal are set by the process on itself, which needs no code between
//! fork and exec. What a sandbox adds (Landlock, seccomp) it adds here, before the exec.

use super::orders::{self, Command, Limits, Report};
use rustix::fs::Mode;
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
pub(super) fn become_command(command: &Command, guard: i32, socket: &UnixStream) -> ExitCode {
    let report = prepare(command, guard).map_or_else(Report::Failed, |()| {
        // SIGPIPE and the signal mask are the standard library's to reset; the rest is inherited,
        // and a worker catches signals, which exec undoes, instead of ignoring them.
        let error = std::process::Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .exec();
        explain(command, &error)
    });
    let _ = orders::send(socket, &report);
    ExitCode::FAILURE
}

fn prepare(command: &Command, guard: i32) -> Result<(), String> {
    let failed = |what: &'static str| move |error| format!("{what}: {error}");
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("no death signal: {error}"))?;
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
    enter(command)?;
    limit(command.limits).map_err(failed("limits cannot be set"))
}

/// A repository may hold a symbolic link where a folder was named.
fn enter(command: &Command) -> Result<(), String> {
    let dir = Path::new(&command.dir);
    let failed = |error: io::Error| format!("its folder {}: {error}", dir.display());
    let workspace = fs::canonicalize(&command.workspace)
        .map_err(|error| format!("the workspace {}: {error}", Path::new(&command.workspace).display()))?;
    std::env::set_current_dir(dir).map_err(failed)?;
    if std::env::current_dir().map_err(failed)?.starts_with(workspace) {
        return Ok(());
    }
    Err(format!("its folder {} leads out of the workspace", dir.display()))
}

fn limit(limits: Limits) -> io::Result<()> {
    let wanted = [
        (Resource::Core, 0),
        (Resource::Data, limits.memory_bytes),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Nofile, limits.open_files),
        // Root is exempt from this one: the kernel counts only those that have no such rights.
        (Resource::Nproc, limits.processes),
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
    if error.kind() != io::ErrorKind::NotFound {
        return Report::Failed(format!("{program}: {error}"));
    }
    // The kernel says the same of a script whose first line names what is not there.
    let path = command.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| path);
    let is_there = if program.contains('/') {
        Path::new(program).exists()
    } else {
        path.is_some_and(|path| std::env::split_paths(path).any(|dir| dir.join(program).is_file()))
    };
    if is_there {
        return Report::Failed(format!("{program} is there, but the interpreter that it names is not"));
    }
    Report::Missing(program.clone())
}
