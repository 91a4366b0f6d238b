//! What the server answers: what `git http-backend` says, unless it was told otherwise; and the files that
//! Git LFS keeps.

use super::repository::{feed, isolate};
use super::{Seen, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

struct Request {
    method: String,
    target: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

pub async fn answer(stream: TcpStream, root: PathBuf, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read_request(&mut stream).await {
        let (mut reply, delay, cut) = {
            let mut state = state.lock().unwrap();
            let authorization = request.headers.get("authorization").cloned();
            let seen = Seen { method: request.method.clone(), target: request.target.clone(), authorization };
            state.requests.push(seen);
            if state.old {
                request.headers.remove("git-protocol");
            }
            if state.hangs {
                (None, Duration::MAX, None)
            } else {
                (refusal(&state, &request), state.delay, state.cut_bytes)
            }
        };
        tokio::time::sleep(delay).await;
        if reply.is_none() {
            reply = Some(backend(&root, &request).await);
        }
        let (head, body) = reply.unwrap();
        let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
        let sent = cut.map_or(body.len(), |cut| cut.min(body.len()));
        let reply = [head.as_bytes(), &body[..sent]].concat();
        if stream.write_all(&reply).await.is_err() || sent < body.len() {
            return;
        }
    }
}

/// What the server answers instead of asking git.
fn refusal(state: &State, request: &Request) -> Option<(String, Vec<u8>)> {
    if let Some(status) = state.status {
        return Some((format!("{status} As told"), Vec::new()));
    }
    for (from, to) in &state.redirects {
        if let Some(rest) = request.target.strip_prefix(from.as_str()) {
            return Some((format!("301 Moved Permanently\r\nLocation: {to}{rest}"), Vec::new()));
        }
    }
    let Some(token) = state.token.as_ref() else { return large(state, request) };
    let given = request.headers.get("authorization").and_then(|value| value.strip_prefix("Basic "));
    let given = given.and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    if given.ends_with(format!(":{token}").as_bytes()) {
        return large(state, request);
    }
    Some(("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"".to_owned(), Vec::new()))
}

/// The batch API of Git LFS, and what it leads to.
fn large(state: &State, request: &Request) -> Option<(String, Vec<u8>)> {
    if let Some((_, oid)) = request.target.split_once("/large-objects/") {
        let found = state.large.get(oid);
        return Some(
            found
                .map_or(("404 Not Found".to_owned(), Vec::new()), |sent| ("200 OK".to_owned(), sent.clone())),
        );
    }
    let base = request.target.strip_suffix("/info/lfs/objects/batch")?;
    let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((request.method.as_str(), asked["operation"].as_str()), ("POST", Some("download")));
    let host = &request.headers["host"];
    let objects = asked["objects"].as_array().unwrap().iter().map(|object| {
        let oid = object["oid"].as_str().unwrap();
        if state.large.contains_key(oid) {
            let href = format!("http://{host}{base}/large-objects/{oid}");
            serde_json::json!({"oid": oid, "size": object["size"], "actions": {"download": {"href": href}}})
        } else {
            serde_json::json!({"oid": oid, "error": {"code": 404, "message": "Object does not exist"}})
        }
    });
    let answer = serde_json::json!({"transfer": "basic", "objects": objects.collect::<Vec<_>>()});
    Some(("200 OK\r\nContent-Type: application/vnd.git-lfs+json".to_owned(), answer.to_string().into_bytes()))
}

/// Asks `git http-backend` (CGI, RFC 3875): the status line and headers, and the body.
async fn backend(root: &Path, request: &Request) -> (String, Vec<u8>) {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    let mut command = Command::new("git");
    command.arg("http-backend");
    isolate(&mut command);
    command
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("REMOTE_ADDR", "127.0.0.1");
    let (_, output, errors) = feed(command, &request.body).await;
    let Some(at) = output.windows(4).position(|window| window == b"\r\n\r\n") else {
        return ("500 Internal Server Error".to_owned(), errors);
    };
    let head = String::from_utf8_lossy(&output[..at]).into_owned();
    let (status, others): (Vec<&str>, Vec<&str>) = head.lines().partition(|line| line.starts_with("Status:"));
    let status = status.first().map_or("200 OK", |line| line["Status:".len()..].trim());
    let lines: Vec<&str> = std::iter::once(status).chain(others).collect();
    (lines.join("\r\n"), output[at + 4..].to_vec())
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let first = read_line(stream).await?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let line = read_line(stream).await?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|value| value == "chunked") {
        loop {
            let size = usize::from_str_radix(&read_line(stream).await?, 16).ok()?;
            let mut chunk = vec![0; size];
            stream.read_exact(&mut chunk).await.ok()?;
            read_line(stream).await?;
            if size == 0 {
                break;
            }
            body.extend(chunk);
        }
    } else if let Some(length) = headers.get("content-length") {
        body.resize(length.parse().ok()?, 0);
        stream.read_exact(&mut body).await.ok()?;
    }
    Some(Request { method, target, headers, body })
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let count = stream.read_line(&mut line).await.ok()?;
    (count > 0).then(|| line.trim_end().to_owned())
}
