//! What hostile builds try, for real. Each attack is first run bare, as a plain child of this test,
//! which stands for the worker: there it must succeed, or the test would prove nothing. Held, it must
//! not. An attack prints `GOT` where it gets what it is after, and `tried` at its end.

use super::bench::{Bench, DAEMONS, PATIENCE};
use crate::support::sandbox::{BUILD_USER, Mode, is_root};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Runs an attack as any child of the worker would run.
fn bare(bench: &Bench, script: &str) -> String {
    let child = Command::new("sh").args(["-c", script]).current_dir(bench.workspace()).output().unwrap();
    String::from_utf8_lossy(&[child.stdout, child.stderr].concat()).into_owned()
}

async fn held(bench: &Bench, script: &str) -> String {
    let (ended, lines) = bench.run(bench.script(script)).await;
    let said: Vec<_> = lines.into_iter().map(|line| line.text).collect();
    let said = said.join("\n");
    ended.unwrap_or_else(|error| panic!("{error}\n{said}"));
    said
}

/// Bare it succeeds, held it fails, both times having got to its end.
async fn is_stopped(mode: Mode, attack: &str, prepare: impl Fn(&Bench) -> String) {
    let bench = Bench::online(mode, &[]);
    let said = bare(&bench, &format!("{}\necho tried", prepare(&bench)));
    assert!(said.contains("GOT") && said.contains("tried"), "{attack} does not work bare: {said}");
    let bench = Bench::online(mode, &[]);
    let said = held(&bench, &format!("{}\necho tried", prepare(&bench))).await;
    assert!(!said.contains("GOT") && said.contains("tried"), "{attack} works in {mode:?}: {said}");
}

fn python(program: &str) -> String {
    format!("/usr/bin/python3 - <<'EOF'\n{program}\nEOF")
}

/// A process of the worker's own, for attacks on processes.
struct Victim(Child);

impl Victim {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap())
    }

    /// One of the user that builds have: of a worker that is not root, that is its own.
    fn of_builds() -> Self {
        let mut sleep = Command::new("sleep");
        if is_root() {
            sleep.uid(BUILD_USER).gid(BUILD_USER);
        }
        Self(sleep.arg("600").stdout(Stdio::null()).spawn().unwrap())
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn reads_the_workers_environment(mode: Mode) {
    // Cargo sets it for this process.
    is_stopped(mode, "reading its own environment", |_| {
        "env | grep -q CARGO_MANIFEST_DIR && echo GOT".into()
    })
    .await;
    is_stopped(mode, "reading /proc/*/environ", |_| {
        "cat /proc/[0-9]*/environ 2>/dev/null | grep -qa CARGO_MANIFEST_DIR && echo GOT".into()
    })
    .await;
}

async fn reads_the_workers_memory(mode: Mode) {
    let secret = format!("secret-{}", rand::random::<u64>());
    let place = secret.as_ptr() as usize;
    is_stopped(mode, "reading the worker's memory", |_| {
        let pid = std::process::id();
        python(&format!(
            "try:\n f = open('/proc/{pid}/mem', 'rb'); f.seek({place})\n if b'secret-' in f.read(7): print('GOT')\n\
             except Exception as e: print(e)"
        ))
    })
    .await;
    is_stopped(mode, "process_vm_readv", |_| {
        let pid = std::process::id();
        python(&format!(
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n\
             class V(ctypes.Structure): _fields_ = [('b', ctypes.c_void_p), ('l', ctypes.c_size_t)]\n\
             buf = ctypes.create_string_buffer(7)\n\
             mine = V(ctypes.cast(buf, ctypes.c_void_p), 7); theirs = V({place}, 7)\n\
             n = libc.process_vm_readv({pid}, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)\n\
             print('GOT' if buf.raw == b'secret-' else ctypes.get_errno())"
        ))
    })
    .await;
    drop(secret);
}

async fn signals_the_workers_processes(mode: Mode) {
    let bench = Bench::of(mode);
    let mut victim = Victim::new();
    let script =
        |victim: &Victim| format!("kill -TERM {}; kill -KILL -1 2>/dev/null; echo tried", victim.0.id());
    let target = format!("kill -TERM {}", victim.0.id());
    bare(&bench, &target);
    let deadline = std::time::Instant::now() + PATIENCE;
    while victim.is_alive() {
        assert!(std::time::Instant::now() < deadline, "the attack does not work bare");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut victim = Victim::new();
    // To all that it may signal, itself left out: so its end is its own.
    held(&bench, &script(&victim)).await;
    std::thread::sleep(Duration::from_millis(100));
    assert!(victim.is_alive(), "a build of {mode:?} killed a process of the worker's");
}

async fn changes_limits_and_priorities_of_the_workers_processes(mode: Mode) {
    let script = |victim: &Victim| {
        let pid = victim.0.id();
        format!(
            "prlimit --pid {pid} --cpu=1000:1000; renice -n 10 -p {pid}; chrt -b -p 0 {pid}; ionice -c3 -p {pid}; \
             taskset -p 1 {pid}; echo tried"
        )
    };
    let ask = |program: &str, args: &[&str]| {
        let answer = Command::new(program).args(args).output().unwrap();
        String::from_utf8(answer.stdout).unwrap()
    };
    let state = |victim: &Victim| {
        let pid = victim.0.id().to_string();
        [
            ask("grep", &["Max cpu time", &format!("/proc/{pid}/limits")]),
            ask("ps", &["-o", "nice=", "-p", &pid]),
            ask("chrt", &["-p", &pid]),
            ask("ionice", &["-p", &pid]),
            ask("taskset", &["-p", &pid]),
        ]
    };
    let bench = Bench::of(mode);
    let victim = Victim::of_builds();
    let before = state(&victim);
    // By the same user: root, as containers have it, may not set the limits of others.
    let mut attack = Command::new("sh");
    if is_root() {
        attack.uid(BUILD_USER).gid(BUILD_USER);
    }
    attack.args(["-c", &script(&victim)]).current_dir("/").output().unwrap();
    let changed = before.iter().zip(state(&victim)).filter(|(before, after)| *before != after).count();
    // A machine may have one processor.
    assert!(changed >= 4, "the attack does not work bare: {before:?} {:?}", state(&victim));
    assert_ne!(state(&victim)[0], before[0], "limits of others cannot be set here");
    let victim = Victim::of_builds();
    let before = state(&victim);
    // And of all of its user at once, which would be the bare test itself.
    let users = "python3 -c 'import os; os.setpriority(os.PRIO_USER, 0, 5)'";
    let said = held(&bench, &format!("{users}\n{}", script(&victim))).await;
    assert!(said.contains("tried"), "{said}");
    assert_eq!(state(&victim), before, "{mode:?}: {said}");
    // What is its own stays its own.
    let own = "ulimit -t 1000 && nice -n 5 true && taskset 1 true && chrt -b 0 true && ionice -c3 true && echo fine";
    assert!(held(&bench, own).await.contains("fine"), "{mode:?}");
}

async fn reads_files_beside_its_folder(mode: Mode) {
    let secrets = |bench: &Bench| {
        let folder = bench.folder.path().canonicalize().unwrap();
        for path in ["gv.toml", "home/.ssh/id_ed25519", "other-workspace/source/.env"] {
            fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
            fs::write(folder.join(path), "GOT").unwrap();
        }
        let folder = folder.display().to_string();
        // By name, by link, by way of the workspace, by the worker's own view of it.
        format!(
            "ln -s {folder}/gv.toml link-$$; cat {folder}/gv.toml {folder}/home/.ssh/id_ed25519 link-$$ ../gv.toml \
             {folder}/other-workspace/source/.env /proc/1/root{folder}/gv.toml /proc/{pid}/root{folder}/gv.toml \
             /proc/{pid}/cwd/../..{folder}/gv.toml; ls {folder}/home/.ssh",
            pid = std::process::id()
        )
    };
    is_stopped(mode, "reading files of the worker", secrets).await;
    is_stopped(mode, "listing home folders", |bench| {
        let folder = bench.folder.path().join("listed");
        fs::create_dir_all(folder.join("GOT")).unwrap();
        format!("ls {}", folder.display())
    })
    .await;
}

async fn writes_outside_of_its_folder(mode: Mode) {
    let open = |bench: &Bench| {
        let folder = bench.folder.path().canonicalize().unwrap().join("open");
        let _ = fs::create_dir(&folder);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(folder.join("theirs"), "theirs").unwrap();
        fs::set_permissions(folder.join("theirs"), fs::Permissions::from_mode(0o666)).unwrap();
        folder
    };
    let script = |folder: &Path| {
        let folder = folder.display();
        format!(
            "echo mine >{folder}/new; echo mine >{folder}/theirs; ln -s {folder} out; echo mine >out/linked; \
             mkdir {folder}/dir; ln {folder}/theirs hard; mv hard {folder}/moved; rm {folder}/theirs; \
             echo mine >/dev/shm/gv-attack-$$; echo mine >/var/tmp/gv-attack-$$; rm -f /dev/shm/gv-attack-$$ \
             /var/tmp/gv-attack-$$; echo tried"
        )
    };
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let bench = Bench::of(mode);
    let folder = open(&bench);
    bare(&bench, &script(&folder));
    assert!(names(&folder).len() >= 3, "the attack does not work bare: {:?}", names(&folder));
    let bench = Bench::of(mode);
    let folder = open(&bench);
    assert!(held(&bench, &script(&folder)).await.contains("tried"));
    assert_eq!(names(&folder), ["theirs"], "{mode:?}");
    assert_eq!(fs::read_to_string(folder.join("theirs")).unwrap(), "theirs", "{mode:?}");
}

async fn changes_what_it_may_only_read(mode: Mode) {
    let bench = Bench::of(mode);
    let tools = bench.folder.path().canonicalize().unwrap().join("tools");
    fs::create_dir(&tools).unwrap();
    fs::write(tools.join("node"), "node").unwrap();
    for path in [&tools, &tools.join("node")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let folder = tools.display();
    let mut job = bench.script(&format!(
        "cat {folder}/node; echo evil >{folder}/node; mv {folder}/node {folder}/x; echo evil >{folder}/new; echo tried"
    ));
    job.tools = vec![tools.clone()];
    let printed = bench.print(job).await;
    assert!(printed.concat().contains("node"), "it can be read: {printed:?}");
    assert_eq!(fs::read_to_string(tools.join("node")).unwrap(), "node", "{mode:?}");
    assert_eq!(fs::read_dir(&tools).unwrap().count(), 1, "{mode:?}");
}

async fn connects_to_loopback_and_private_networks(mode: Mode) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let _ = connection.unwrap().write_all(b"GOT\n");
        }
    });
    is_stopped(mode, "TCP to loopback", |_| {
        python(&format!(
            "import socket\nfor kind, host in ((2, '127.0.0.1'), (10, '::ffff:127.0.0.1')):\n try:\n  \
             s = socket.socket(kind); s.settimeout(5); s.connect((host, {port})); print(s.recv(9).decode())\n \
             except Exception as e: print(e)"
        ))
    })
    .await;
    // TCP Fast Open: the first data opens the connection, by each of the calls that send. Where the machine does
    // not do it, nothing works bare.
    let fast_open = |flags: &str| {
        python(&format!(
            "import ctypes, socket, struct\nlibc = ctypes.CDLL(None, use_errno=True)\nport = {port}\n\
             name = struct.pack('=H', 2) + struct.pack('!H', port) + bytes([127, 0, 0, 1]) + bytes(8)\n\
             class V(ctypes.Structure): _fields_ = [('base', ctypes.c_char_p), ('len', ctypes.c_size_t)]\n\
             class M(ctypes.Structure): _fields_ = [('name', ctypes.c_char_p), ('namelen', ctypes.c_uint), ('iov', ctypes.c_void_p), \
             ('iovlen', ctypes.c_size_t), ('control', ctypes.c_void_p), ('controllen', ctypes.c_size_t), ('flags', ctypes.c_int), ('len', ctypes.c_uint)]\n\
             v = V(b'x', 1); m = M(name, 16, ctypes.addressof(v), 1)\n\
             def sendto(s): libc.sendto(s.fileno(), b'x', 1, {flags}, name, 16)\n\
             def sendmsg(s): libc.sendmsg(s.fileno(), ctypes.byref(m), {flags})\n\
             def sendmmsg(s): libc.sendmmsg(s.fileno(), ctypes.byref(m), 1, {flags})\n\
             for send in (sendto, sendmsg, sendmmsg):\n try:\n  s = socket.socket(); s.settimeout(5); send(s); print(s.recv(9).decode())\n \
             except Exception as e: print(e)"
        ))
    };
    is_stopped(mode, "TCP Fast Open to loopback", |_| fast_open("0x20000000")).await;
    is_stopped(mode, "TCP Fast Open with other flags", |_| fast_open("0x20004000")).await;
    // Nobody need be there: a connection is not even begun. EACCES and ENETUNREACH, at once.
    let bench = Bench::online(mode, &[]);
    let said = held(
        &bench,
        &python(
            "import socket, time\nfor host in ('169.254.169.254', '10.0.0.1', '192.168.0.1', '172.17.0.1', '1.1.1.1'):\n \
             for port in (22, 80, 443):\n  s = socket.socket(); s.settimeout(5); began = time.time()\n  \
             e = s.connect_ex((host, port))\n  print('refused' if e in (13, 101) and time.time() - began < 1 else ('GOT', host, port, e))",
        ),
    )
    .await;
    assert!(!said.contains("GOT") && said.matches("refused").count() == 15, "{mode:?}: {said}");
}

async fn asks_the_proxy_for_private_networks(mode: Mode) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.set_read_timeout(Some(Duration::from_millis(200)));
            let _ = connection.read(&mut [0; 1000]);
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nGOT");
        }
    });
    let ask = |hosts: &str| {
        python(&format!(
            "import os, socket\nfrom urllib.parse import urlsplit\np = urlsplit(os.environ['HTTPS_PROXY'])\n\
             for line in ({hosts}):\n s = socket.create_connection((p.hostname, p.port), 10)\n \
             s.sendall((line + ' HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n').encode())\n \
             print(line, s.makefile('rb').read(12).decode())"
        ))
    };
    let run = async |allowed: &[String], hosts: &str| {
        let bench = Bench::online(mode, allowed);
        bench.print(bench.script(&ask(hosts))).await.join("\n")
    };
    let private = format!(
        "'CONNECT 127.0.0.1:{port}', 'CONNECT localhost:{port}', 'GET http://127.0.0.1:{port}/', \
         'CONNECT 169.254.169.254:443', 'GET http://169.254.169.254/latest/meta-data/', 'CONNECT 10.0.0.1:443', \
         'CONNECT [::1]:443', 'CONNECT [::ffff:10.0.0.1]:443', 'CONNECT 1.1.1.1:22'"
    );
    let said = run(&[], &private).await;
    assert_eq!(said.matches("HTTP/1.1 403").count(), 9, "{mode:?}: {said}");
    // The same way is open to what the operator lists: so the proxy is what refused it.
    let listed = format!("'CONNECT 127.0.0.1:{port}', 'GET http://127.0.0.1:{port}/'");
    let said = run(&[format!("127.0.0.1:{port}")], &listed).await;
    assert_eq!(said.matches("HTTP/1.1 200").count(), 2, "{mode:?}: {said}");
}

async fn sends_datagrams(mode: Mode) {
    let heard = UdpSocket::bind("127.0.0.1:0").unwrap();
    heard.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let port = heard.local_addr().unwrap().port();
    let script = python(&format!(
        "import socket\ntry: socket.socket(2, socket.SOCK_DGRAM).sendto(b'GOT', ('127.0.0.1', {port}))\n\
         except Exception as e: print(e)\nprint('tried')"
    ));
    let bench = Bench::online(mode, &[]);
    bare(&bench, &script);
    assert_eq!(heard.recv(&mut [0; 9]).unwrap(), 3, "the attack does not work bare");
    assert!(held(&bench, &script).await.contains("tried"));
    assert!(heard.recv(&mut [0; 9]).is_err(), "a datagram left {mode:?}");
}

async fn speaks_to_unix_sockets(mode: Mode) {
    let serve = |listener: UnixListener| {
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let _ = connection.unwrap().write_all(b"GOT\n");
            }
        });
    };
    let name = format!("gv-attack-{}", rand::random::<u64>());
    serve(UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap());
    let connect = |place: &str| {
        python(&format!(
            "import socket\ntry:\n s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect({place}); \
             print(s.recv(9).decode())\nexcept Exception as e: print(e)"
        ))
    };
    is_stopped(mode, "abstract Unix sockets", |_| connect(&format!("'\\0{name}'"))).await;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = folder.path().join("socket");
    serve(UnixListener::bind(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let place = format!("'{}'", path.display());
    // The folder is closed to all but its owner. Landlock does not know such sockets, and so leaves
    // those of the build's own user open, as docs/sandbox.md says.
    if mode == Mode::Bubblewrap || is_root() {
        is_stopped(mode, "Unix sockets of closed folders", |_| connect(&place)).await;
    } else {
        assert!(held(&Bench::online(mode, &[]), &connect(&place)).await.contains("GOT"));
    }
}

async fn makes_namespaces_of_its_own(mode: Mode) {
    is_stopped(mode, "a nested user namespace", |_| "unshare --user --map-root-user echo GOT".into()).await;
    is_stopped(mode, "a nested mount namespace", |_| {
        "unshare --user --map-root-user --mount sh -c 'mount -t tmpfs none /mnt && echo GOT'".into()
    })
    .await;
    is_stopped(mode, "clone with CLONE_NEWUSER", |_| {
        python(
            "import ctypes, os\nlibc = ctypes.CDLL(None)\npid = libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0)\n\
             if pid == 0: os._exit(0)\nprint('GOT' if pid > 0 else 'refused')",
        )
    })
    .await;
}

async fn traces_and_kills_its_guard(mode: Mode) {
    let bench = Bench::of(mode);
    let script = "kill -9 $PPID; kill -STOP $PPID; kill -9 1; kill -9 -1; echo still here; exit 7";
    let (ended, lines) = bench.run(bench.script(script)).await;
    assert_eq!(ended.unwrap(), gv::ports::executor::Exit::Code(7), "{mode:?}: {lines:?}");
    bench.assert_all_dead();
}

async fn keeps_memory_that_is_no_process_s(mode: Mode) {
    is_stopped(mode, "a file in memory", |_| {
        python(
            "import os\ntry:\n f = os.memfd_create('x'); os.write(f, b'x' * 1000); print('GOT')\n\
             except OSError as e: print(e)",
        )
    })
    .await;
    // Each is removed again: bare, they would stay.
    for (made, removed) in [
        ("shmget(0, 1 << 20, 0o1600)", "shmctl(made, 0, None)"),
        ("msgget(0, 0o1600)", "msgctl(made, 0, None)"),
        ("semget(0, 100, 0o1600)", "semctl(made, 0, 0)"),
        ("mq_open(b'/gv-attack', 0o102, 0o600, None)", "mq_unlink(b'/gv-attack')"),
    ] {
        is_stopped(mode, made, |_| {
            python(&format!(
                "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nmade = libc.{made}\n\
                 if made >= 0: libc.{removed}; print('GOT')\nelse: print(ctypes.get_errno())"
            ))
        })
        .await;
    }
}

async fn leaves_daemons_behind(mode: Mode) {
    let bench = Bench::of(mode);
    bare(&bench, &format!("({DAEMONS}) >/dev/null 2>&1"));
    assert!(bench.alive().len() >= 4, "the attack does not work bare");
    for stat in bench.alive() {
        let pid = stat.split(' ').next().unwrap().parse().unwrap();
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::Signal::KILL,
        );
    }
    let bench = Bench::of(mode);
    held(&bench, &format!("({DAEMONS}) >/dev/null 2>&1; echo tried")).await;
    bench.assert_all_dead();
}

/// Makes each attack a test in both modes.
macro_rules! attacks {
    ($($attack:ident)*) => {
        mod bubblewrap {
            use crate::support::sandbox::Mode;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $attack() {
                super::$attack(Mode::Bubblewrap).await;
            })*
        }
        mod landlock {
            use crate::support::sandbox::Mode;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $attack() {
                super::$attack(Mode::Landlock).await;
            })*
        }
    };
}

attacks! {
    reads_the_workers_environment
    reads_the_workers_memory
    signals_the_workers_processes
    changes_limits_and_priorities_of_the_workers_processes
    reads_files_beside_its_folder
    writes_outside_of_its_folder
    changes_what_it_may_only_read
    connects_to_loopback_and_private_networks
    asks_the_proxy_for_private_networks
    sends_datagrams
    speaks_to_unix_sockets
    makes_namespaces_of_its_own
    traces_and_kills_its_guard
    keeps_memory_that_is_no_process_s
    leaves_daemons_behind
}
