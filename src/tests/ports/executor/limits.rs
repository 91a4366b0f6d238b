//! What a build may use together with all its processes: past that it is ended, and the worker hears
//! of what there was too much. In every mode, also without a sandbox.

use super::bench::{Bench, PATIENCE};
use crate::support::sandbox::{Mode, place};
use gv::adapters::executor::cgroup::Groups;
use gv::adapters::executor::process::{Place, ProcessExecutor};
use gv::ports::executor::{Exit, Job, Limit};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MODES: [Mode; 3] = [Mode::UnsafeNone, Mode::Bubblewrap, Mode::Landlock];

async fn ends_for(limit: Limit, job: impl Fn(&Bench) -> Job) {
    ends_in(&MODES, limit, job).await;
}

/// Runs what uses too much until it is ended for it.
async fn ends_in(modes: &[Mode], limit: Limit, job: impl Fn(&Bench) -> Job) {
    for mode in modes.iter().copied() {
        let bench = Bench::of(mode);
        let began = Instant::now();
        let (ended, lines) = bench.run(job(&bench)).await;
        assert_eq!(ended.unwrap(), Exit::Exceeded(limit), "{mode:?}: {lines:?}");
        assert!(began.elapsed() < PATIENCE / 2, "{mode:?}");
        bench.assert_all_dead();
    }
}

#[tokio::test]
async fn memory_counts_over_all_processes() {
    ends_for(Limit::Memory, |bench| {
        // Each of the four keeps to what one alone might have.
        let one = "/usr/bin/python3 -c 'import time; x = bytearray(60 << 20); time.sleep(60)'";
        let mut job = bench.script(&format!("{one} & {one} & {one} & {one} & wait"));
        job.limits.memory_bytes = 150 << 20;
        job
    })
    .await;
}

#[tokio::test]
async fn memory_that_processes_share_counts_once() {
    for mode in MODES {
        let bench = Bench::of(mode);
        let program = "import os, time\nx = bytearray(60 << 20)\n\
                       for i in range(6):\n if os.fork() == 0: time.sleep(1.5); os._exit(0)\n\
                       for i in range(6): os.wait()";
        let mut job = bench.job(&["/usr/bin/python3", "-c", program]);
        job.limits.memory_bytes = 200 << 20;
        let (ended, lines) = bench.run(job).await;
        assert_eq!(ended.unwrap(), Exit::Code(0), "{mode:?}: {lines:?}");
    }
}

#[tokio::test]
async fn processes_count_and_a_fork_bomb_ends() {
    ends_for(Limit::Processes, |bench| {
        let mut job = bench.script("i=0; while [ $i -lt 60 ]; do sleep 60 & i=$((i+1)); done; wait");
        job.limits.processes = 40;
        job
    })
    .await;
    // Without a sandbox a build of root's is root, for whom the kernel has no limit to fall back on.
    let held = [Mode::Bubblewrap, Mode::Landlock];
    ends_in(&held, Limit::Processes, |bench| {
        let mut job = bench.script("bomb() { bomb | bomb & }; bomb; sleep 60");
        job.limits.processes = 100;
        job.limits.user_processes = 2000;
        job
    })
    .await;
}

#[tokio::test]
async fn processor_time_counts_over_all_processes_the_dead_too() {
    ends_for(Limit::Cpu, |bench| {
        let burn = "timeout 0.7 sh -c 'while :; do :; done'";
        let mut job = bench.script(&format!("while :; do {burn} & {burn} & wait; done"));
        job.limits.cpu = Duration::from_secs(2);
        job
    })
    .await;
}

#[tokio::test]
async fn processor_time_counts_where_nobody_reaps_the_dead() {
    ends_for(Limit::Cpu, |bench| {
        // One after the other, so that no more than half a second of it is ever alive.
        let program = "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n \
                       if os.fork() == 0:\n  while time.process_time() < 0.5: pass\n  os._exit(0)\n \
                       try: os.wait()\n except ChildProcessError: pass";
        let mut job = bench.job(&["/usr/bin/python3", "-c", program]);
        job.limits.cpu = Duration::from_secs(2);
        job
    })
    .await;
}

#[tokio::test]
async fn files_that_are_open_and_have_no_name_count() {
    let program = |files: u32, each: &str| {
        format!(
            "import os, time\nopen_ = []\nfor i in range({files}):\n f = open('file', 'wb'); os.unlink('file')\n \
             f.write({each}); f.flush(); open_.append(f)\ntime.sleep(60)"
        )
    };
    ends_for(Limit::DiskBytes, |bench| {
        let mut job = bench.job(&["/usr/bin/python3", "-c", &program(3, "bytes(10 << 20)")]);
        job.limits.disk_bytes = 20 << 20;
        job
    })
    .await;
    ends_for(Limit::DiskFiles, |bench| {
        let mut job = bench.job(&["/usr/bin/python3", "-c", &program(300, "b'x'")]);
        job.limits.disk_files = 200;
        job
    })
    .await;
    for mode in MODES {
        let bench = Bench::of(mode);
        // As many descriptors of the same file as processes inherit.
        let fewer = program(1, "bytes(10 << 20)")
            .replace("time.sleep(60)", "[os.fork() for _ in range(3)]; time.sleep(1)");
        let mut job = bench.job(&["/usr/bin/python3", "-c", &fewer]);
        job.limits.disk_bytes = 20 << 20;
        assert_eq!(bench.run(job).await.0.unwrap(), Exit::Code(0), "{mode:?}");
    }
}

#[tokio::test]
async fn the_disk_counts_in_bytes_and_files_also_behind_closed_folders() {
    ends_for(Limit::DiskBytes, |bench| {
        let mut job = bench.script(
            "mkdir hidden; for i in 1 2 3 4; do head -c 10000000 /dev/zero >hidden/$i; done; chmod 0 hidden; sleep 60",
        );
        job.limits.disk_bytes = 20 << 20;
        job
    })
    .await;
    ends_for(Limit::DiskFiles, |bench| {
        let mut job = bench.script("seq 500 | xargs touch; sleep 60");
        job.limits.disk_files = 200;
        job
    })
    .await;
    ends_for(Limit::DiskBytes, |bench| {
        let cache = bench.folder.path().canonicalize().unwrap().join("cache");
        fs::create_dir(&cache).unwrap();
        let mut job = bench.script(&format!("head -c 30000000 /dev/zero >{}/big; sleep 60", cache.display()));
        job.caches = vec![cache];
        job.limits.disk_bytes = 20 << 20;
        job
    })
    .await;
}

#[tokio::test]
async fn a_file_with_a_hole_takes_no_room() {
    for mode in MODES {
        let bench = Bench::of(mode);
        let mut job = bench.script("truncate -s 1000000000 sparse; sleep 1");
        job.limits.disk_bytes = 1 << 20;
        assert_eq!(bench.run(job).await.0.unwrap(), Exit::Code(0), "{mode:?}");
    }
}

/// A control group of this test's own; `None`: this user can have none here.
fn own_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = lines.find(|fields| fields.get(2) == Some(&"cgroup2"))?[1].to_owned();
    let group = PathBuf::from(mount).join(format!("gv-test-{}", std::process::id()));
    fs::create_dir(&group).is_ok().then_some(group)
}

#[tokio::test]
async fn a_build_in_a_control_group_leaves_nothing_in_it() {
    let Some(root) = own_group() else {
        // Then nobody can be given one, and is told.
        let refused = Groups::open(Path::new("/sys/fs/cgroup")).unwrap_err();
        assert!(refused.contains("must belong to the worker's user"), "{refused}");
        return;
    };
    let left = || fs::read_dir(&root).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    // What a worker that was killed has left is ended.
    fs::create_dir(root.join("gv-build-old")).unwrap();
    let mut old = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    fs::write(root.join("gv-build-old/cgroup.procs"), old.id().to_string()).unwrap();
    let groups = Groups::open(&root).unwrap();
    assert!(!old.wait().unwrap().success());
    assert_eq!(left(), 0);
    for mode in MODES {
        let bench = Bench::new(|folder| {
            let place = Place { groups: Some(groups.clone()), ..place(folder) };
            Arc::new(match mode {
                Mode::UnsafeNone => ProcessExecutor::unsafe_none(place),
                Mode::Bubblewrap => ProcessExecutor::bubblewrap(place, Path::new("/usr/bin/bwrap"), None),
                Mode::Landlock => ProcessExecutor::landlock(place, None),
            })
        });
        let said = bench.print(bench.script("setsid sleep 600 & cat /proc/self/cgroup")).await.join("\n");
        // Within namespaces the group is the root of all that there is.
        let named = if matches!(mode, Mode::Bubblewrap) { "0::/" } else { "gv-build-dpl_" };
        assert!(said.contains(named), "{mode:?}: {said}");
        bench.assert_all_dead();
        assert_eq!(left(), 0, "{mode:?}");
    }
    fs::remove_dir(root).unwrap();
}
