//! The filter of system calls that each held command runs under: the same kernel doors that are
//! closed whatever else holds it.
//!
//! What is named is refused, all else goes through. Namespaces, mounts, keys, tracing of the kernel
//! and sockets of odd families are no business of a build's. Where the network is not a namespace of
//! its own ([`Network::Shared`]), only TCP and Unix sockets can be made: Landlock checks where TCP
//! leads, and it checks nothing else. Nor does it keep a process from setting limits and priorities of
//! others of its user, among which the worker may be.

use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
    sock_filter,
};
use std::collections::BTreeMap;

/// Which network a command would meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// A namespace of its own, in which there is nothing.
    Own,
    /// The worker's. `unix`: whether sockets of that family may be made.
    Shared { unix: bool },
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

const REFUSED: &[libc::c_long] = &[
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_syslog,
];

/// Calls that programs do without where a kernel does not have them.
const ABSENT: &[libc::c_long] = &[
    // Its flags lie in memory, where a filter cannot look: clone takes its place.
    libc::SYS_clone3,
    // It would make sockets past the filter.
    libc::SYS_io_uring_setup,
    // Memory that no process need have mapped, which a guard that counts processes' memory does not see; what is
    // System V's stays when all that made it are dead.
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// Calls about the time of processors and disks that a process gets, and which argument names it.
const HINTS: [(libc::c_long, u8); 6] = [
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setattr, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setscheduler, 0),
];
/// Of them, those whose first argument may also name a user, and how (`setpriority(2)`, `ioprio_set(2)`).
const HINTS_FOR_USERS: [(libc::c_long, u64); 2] =
    [(libc::SYS_setpriority, libc::PRIO_USER as u64), (libc::SYS_ioprio_set, 3)];

/// Holds this thread and all that it starts from now on. There is no way back.
pub(super) fn apply(network: Network) -> Result<(), String> {
    let failed = |error: seccompiler::Error| format!("the filter of system calls: {error}");
    for (rules, errno) in filters(network).map_err(|error| failed(error.into()))? {
        let program = compile(rules, errno).map_err(|error| failed(error.into()))?;
        apply_filter(&program).map_err(failed)?;
    }
    Ok(())
}

/// What is answered with which error.
fn filters(network: Network) -> Result<Vec<(Rules, libc::c_int)>, seccompiler::BackendError> {
    let absent = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    let mut filters = vec![(refused(network)?, libc::EPERM), (absent, libc::ENOSYS)];
    if network != Network::Own {
        // No error: as if it were done. Threads name themselves and their like by their ids in these calls, where
        // a filter cannot tell whose an id is, and what they ask for may come to nothing.
        filters.push((hints()?, 0));
    }
    Ok(filters)
}

/// Hints about any process but the one that asks: where builds have the worker's user, its worker is among them.
fn hints() -> Result<Rules, seccompiler::BackendError> {
    let mut rules = Rules::new();
    for (call, process) in HINTS {
        let mut conditions = vec![SeccompCondition::new(process, Dword, Ne, 0)?];
        for (_, user) in HINTS_FOR_USERS.iter().filter(|(for_users, _)| *for_users == call) {
            conditions.push(SeccompCondition::new(0, Dword, Ne, *user)?);
        }
        rules.insert(call, vec![SeccompRule::new(conditions)?]);
    }
    Ok(rules)
}

/// With it, data opens a connection, which Landlock does not look at (`tcp(7)`, TCP Fast Open).
const OPENS_CONNECTION: u64 = libc::MSG_FASTOPEN as u64;
/// What sends, and which argument has its flags.
const SENDING: [(libc::c_long, u8); 3] =
    [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)];

fn refused(network: Network) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let mut namespaces = Vec::new();
    for flag in NAMESPACES {
        let flag = u64::from(flag.cast_unsigned());
        namespaces.push(SeccompRule::new(vec![SeccompCondition::new(0, Dword, MaskedEq(flag), flag)?])?);
    }
    rules.insert(libc::SYS_clone, namespaces);
    let mut terminal = Vec::new();
    // Typing into the terminal of whoever started the worker.
    for request in [libc::TIOCSTI, libc::TIOCLINUX] {
        terminal.push(SeccompRule::new(vec![SeccompCondition::new(1, Dword, Eq, request)?])?);
    }
    rules.insert(libc::SYS_ioctl, terminal);
    rules.insert(libc::SYS_socket, sockets(network)?);
    if network != Network::Own {
        for (call, flags) in SENDING {
            let opens = SeccompCondition::new(flags, Dword, MaskedEq(OPENS_CONNECTION), OPENS_CONNECTION)?;
            rules.insert(call, vec![SeccompRule::new(vec![opens])?]);
        }
        // The limits of others; one's own are 0's.
        let other = SeccompCondition::new(0, Dword, Ne, 0)?;
        let sets = SeccompCondition::new(2, Qword, Ne, 0)?;
        rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![other, sets])?]);
        for (call, user) in HINTS_FOR_USERS {
            let everybody = SeccompCondition::new(0, Dword, Eq, user)?;
            rules.insert(call, vec![SeccompRule::new(vec![everybody])?]);
        }
    }
    Ok(rules)
}

fn sockets(network: Network) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let number = |value: libc::c_int| u64::from(value.cast_unsigned());
    let family = |operator, family| SeccompCondition::new(0, Dword, operator, number(family));
    let mut allowed = vec![libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    if network != (Network::Shared { unix: false }) {
        allowed.push(libc::AF_UNIX);
    }
    let others: Result<Vec<_>, _> = allowed.iter().map(|known| family(Ne, *known)).collect();
    let mut rules = vec![SeccompRule::new(others?)?];
    if network == Network::Own {
        return Ok(rules);
    }
    // The type's low bits; those above are flags.
    let kind = |kind| SeccompCondition::new(1, Dword, MaskedEq(0xf), number(kind));
    let protocol = |operator, protocol| SeccompCondition::new(2, Dword, operator, number(protocol));
    for internet in [libc::AF_INET, libc::AF_INET6] {
        for other in (0..16).filter(|kind| *kind != libc::SOCK_STREAM) {
            rules.push(SeccompRule::new(vec![family(Eq, internet)?, kind(other)?])?);
        }
        // Streams of other protocols are none that Landlock looks at.
        rules.push(SeccompRule::new(vec![
            family(Eq, internet)?,
            protocol(Ne, libc::IPPROTO_IP)?,
            protocol(Ne, libc::IPPROTO_TCP)?,
        ])?);
    }
    // Asking for the addresses of this machine is what programs do with it; all else is not needed.
    rules.push(SeccompRule::new(vec![family(Eq, libc::AF_NETLINK)?, protocol(Ne, libc::NETLINK_ROUTE)?])?);
    Ok(rules)
}

fn compile(rules: Rules, errno: libc::c_int) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let action = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?;
    let mut program = without_x32();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// On x86-64 each call has a second number, of an ABI that nothing uses and that no rule names: as
/// if the kernel did not have it. (`seccomp(2)`, on the field `nr`.)
fn without_x32() -> BpfProgram {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const X32: u32 = 0x4000_0000;
    const REFUSE: u32 = 0x0005_0000;
    if std::env::consts::ARCH != "x86_64" {
        return Vec::new();
    }
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD_WORD, 0, 0, 0),
        step(JUMP_IF_AT_LEAST, 0, 1, X32),
        step(RETURN, 0, 0, REFUSE | libc::ENOSYS.cast_unsigned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_compiles_and_stays_within_what_the_kernel_takes() {
        for network in [Network::Own, Network::Shared { unix: true }, Network::Shared { unix: false }] {
            for (rules, errno) in filters(network).unwrap() {
                let program = compile(rules, errno).unwrap();
                assert!(program.len() < 4096, "{}", program.len());
            }
        }
    }
}
