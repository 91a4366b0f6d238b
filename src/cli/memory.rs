//! How the process gives memory back. Not how much it may take: edges and caches have bounds of their own.

/// The size from which a buffer is a mapping of its own: what glibc begins with.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 128 * 1024;
/// Of a `gv up`, which is for one machine and a few people: threads have small caches of their own besides.
#[cfg(target_env = "gnu")]
const FEW_ARENAS: libc::c_int = 2;

/// To be called before there is a second thread.
///
/// glibc raises the size from which a buffer is mapped by itself to that of the largest that was freed, up to
/// 32 MiB, and what the top of each arena may keep to twice that. A deployment's coders free buffers of
/// megabytes, on as many threads as there are, each with an arena: an idle `gv up` with ten sites kept 13 MiB
/// of nothing (`bench/deploy/memory`). Said once, the size stays, and such buffers go back as they are freed.
pub fn give_back_what_is_freed() {
    #[cfg(target_env = "gnu")]
    tell(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
}

/// To be called before there is a second thread. Eight arenas a processor, each with some free room at its top,
/// are for servers.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    tell(libc::M_ARENA_MAX, FEW_ARENAS);
}

#[cfg(target_env = "gnu")]
fn tell(parameter: libc::c_int, value: libc::c_int) {
    #[expect(
        unsafe_code,
        reason = "glibc takes this by a call alone; it reads two numbers and keeps no pointer"
    )]
    // SAFETY: no other thread allocates yet, and both parameters are ones that mallopt(3) has.
    let taken = unsafe { libc::mallopt(parameter, value) };
    debug_assert_eq!(taken, 1);
}
