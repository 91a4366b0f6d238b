//! The builds' way out, seen from inside: what the proxy lets through, and how much of it.

use super::bench::Bench;
use crate::support::mirror::Mirror;
use crate::support::sandbox::Mode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const HELD: [Mode; 2] = [Mode::Bubblewrap, Mode::Landlock];

/// A server on a private address that echoes whatever it is sent, as the operator's mirror.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = connection.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_installs_a_package_from_the_registry() {
    let registry = Mirror::of_this_machine();
    for mode in HELD {
        let bench = Bench::online(mode, &registry.hosts());
        std::fs::create_dir(bench.workspace().join("tmp")).unwrap();
        std::fs::write(bench.workspace().join("package.json"), r#"{"dependencies": {"is-number": "7.0.0"}}"#)
            .unwrap();
        let mut job = bench.script(
            "npm install --no-audit --no-fund --loglevel=http >log 2>&1 || { cat log; exit 1; }; \
             node -p 'require(\"is-number\")(5)'",
        );
        let workspace = bench.workspace().display().to_string();
        job.env.push(("HOME".to_owned(), workspace.clone()));
        job.env.push(("TMPDIR".to_owned(), format!("{workspace}/tmp")));
        job.env.extend(registry.variables());
        // Node reserves more than it uses.
        job.limits.process_bytes = 8 << 30;
        assert_eq!(bench.print(job).await.last().unwrap(), "true", "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_carries_bytes_both_ways_and_both_ends() {
    let address = echo().await;
    let script = format!(
        "/usr/bin/python3 - <<'EOF'\nimport os, socket, threading\nfrom urllib.parse import urlsplit\n\
         p = urlsplit(os.environ['HTTPS_PROXY'])\ns = socket.create_connection((p.hostname, p.port))\n\
         s.sendall(b'CONNECT {address} HTTP/1.1\\r\\n\\r\\n')\nf = s.makefile('rb')\nprint(f.readline()); f.readline()\n\
         data = os.urandom(1 << 20) * 8\n\
         def send():\n s.sendall(data); s.shutdown(socket.SHUT_WR)\n\
         threading.Thread(target=send).start()\nprint(f.read() == data)\nEOF"
    );
    for mode in HELD {
        let bench = Bench::online(mode, std::slice::from_ref(&address));
        let job = bench.script(&script);
        let printed = bench.print(job).await;
        assert_eq!(printed.last().unwrap(), "True", "{mode:?}: {printed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_was_refused_and_who_can_allow_it() {
    for mode in HELD {
        let bench = Bench::online(mode, &[]);
        let job = bench.script(
            "/usr/bin/python3 -c 'import urllib.request as r\ntry: r.urlopen(\"http://10.0.0.1/x\")\n\
             except Exception as e: print(e); print(e.read().decode())'",
        );
        let said = bench.print(job).await.join(" ");
        assert!(said.contains("403") && said.contains("worker.egress_allow"), "{mode:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_and_the_next_one_is_told() {
    let egress = gv::adapters::executor::egress::Egress::by_port(Vec::new());
    let door = egress.open().unwrap();
    let address = ("127.0.0.1", door.port().unwrap());
    let mut held = Vec::new();
    for _ in 0..128 {
        held.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    // Those before it are taken in their order.
    let mut last = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut said = String::new();
    tokio::time::timeout(Duration::from_secs(20), last.read_to_string(&mut said)).await.unwrap().unwrap();
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    // That is one build's own trouble.
    let other = egress.open().unwrap();
    assert!(is_served(("127.0.0.1", other.port().unwrap())).await, "another build is held up");
    held.pop();
    let again = async {
        while !is_served(address).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again)
        .await
        .expect("a place that was given up is given again");
}

/// Whether the proxy judges a request, instead of having no place for it.
async fn is_served(address: (&str, u16)) -> bool {
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    connection.write_all(b"CONNECT 10.0.0.1:443 HTTP/1.1\r\n\r\n").await.unwrap();
    let mut said = String::new();
    let _ = connection.read_to_string(&mut said).await;
    said.starts_with("HTTP/1.1 403")
}
