//! The access log: one line of JSON a request. Each thread writes its lines into a buffer of its
//! own; full ones, and after a second all, go to one thread that writes them out. No visitor waits
//! for it: where the disk does not keep up, lines are dropped and counted.
//!
//! Start with [`AccessLog::start`], then [`Lines`].

use crate::edge::moment::Moments;
use crate::edge::reply::Reply;
use crate::edge::request::Request;
use anyhow::Context as _;
use rustix::process::setpriority_process;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Buffers that wait to be written out; each is about [`FULL`].
const WAITING: usize = 16;
/// A buffer of so many bytes is given away: a wake of the thread that writes, and a write, cost the same for any.
const FULL: usize = 256 * 1024;
/// Of one text that a visitor sent, in bytes.
const MAX_TEXT: usize = 512;
/// Fields of a request that are told, and as what.
const FIELDS: [(&str, &str); 4] = [
    ("host", "host"),
    ("referer", "referer"),
    ("user-agent", "user_agent"),
    ("x-forwarded-for", "forwarded_for"),
];
/// How often the file is looked for under its name, since log rotation moves it away.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// How nice the thread is that writes.
const AFTER_VISITORS: i32 = 10;

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Stdout,
    /// Appended to. A file that was moved away is made anew.
    File(PathBuf),
}

/// The running log, for all threads.
#[derive(Clone)]
pub struct AccessLog {
    full: SyncSender<Vec<u8>>,
    spent: Spent,
}

/// Buffers that were written out. They are filled again: new memory is slow at first.
type Spent = Arc<Mutex<Vec<Vec<u8>>>>;

impl AccessLog {
    /// With the thread that writes, which ends when nobody has lines any more. Fails when the file
    /// cannot be written to.
    pub fn start(to: Destination) -> anyhow::Result<(Self, JoinHandle<()>)> {
        let (full, receive) = sync_channel(WAITING);
        let spent = Spent::default();
        let done = Arc::clone(&spent);
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        let writer = match to {
            Destination::Stdout => thread.spawn(move || write_out(&receive, &done, &mut io::stdout())),
            Destination::File(path) => {
                let mut log = LogFile::open(path)?;
                thread.spawn(move || write_out(&receive, &done, &mut log))
            }
        }?;
        Ok((Self { full, spent }, writer))
    }

    pub fn lines(&self) -> Lines {
        Lines { log: self.clone(), buffer: Vec::with_capacity(FULL + 4096) }
    }
}

fn write_out(lines: &Receiver<Vec<u8>>, spent: &Spent, to: &mut impl Write) {
    // Of this thread alone: where there is one processor, visitors come first.
    if let Err(error) = setpriority_process(None, AFTER_VISITORS) {
        tracing::debug!(%error, "the access log is written at the usual priority");
    }
    let mut is_failing = false;
    while let Ok(mut buffer) = lines.recv() {
        let written = to.write_all(&buffer).and_then(|()| to.flush());
        if let Err(error) = &written {
            count_lost(&buffer);
            if !is_failing {
                tracing::warn!(%error, "the access log cannot be written");
            }
        }
        is_failing = written.is_err();
        buffer.clear();
        let mut spent = spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() < WAITING {
            spent.push(buffer);
        }
    }
}

fn count_lost(buffer: &[u8]) {
    let lines = buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
    metrics::counter!("gv_edge_access_log_dropped_total").increment(lines);
}

struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl LogFile {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let file = append_to(&path)
            .with_context(|| format!("edge.access_log: {} cannot be written to", path.display()))?;
        Ok(Self { path, file, looked: Instant::now() })
    }

    /// Goes on in a new file where the old one was moved away; in the old one where that cannot be.
    fn look_after(&mut self) {
        if self.looked.elapsed() < LOOK_AFTER {
            return;
        }
        self.looked = Instant::now();
        let place = |file: std::fs::Metadata| (file.dev(), file.ino());
        let (held, named) = (self.file.metadata().map(place), std::fs::metadata(&self.path).map(place));
        if !matches!((held, named), (Ok(held), Ok(named)) if held == named)
            && let Ok(new) = append_to(&self.path)
        {
            self.file = new;
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.look_after();
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// One thread's lines.
pub struct Lines {
    log: AccessLog,
    buffer: Vec<u8>,
}

/// What a line says beside the request and its answer.
pub struct Circumstances<'c> {
    /// Its address as text, made once a connection; empty where there is none.
    pub client: &'c str,
    pub began: Instant,
    pub ended: Instant,
}

impl Lines {
    pub fn write(
        &mut self,
        moments: &mut Moments,
        request: &Request<'_>,
        reply: &Reply,
        circumstances: &Circumstances<'_>,
    ) {
        let Circumstances { client, began, ended } = circumstances;
        let line = &mut self.buffer;
        line.extend_from_slice(b"{\"time\":\"");
        moments.write_log_time(*ended, line);
        line.extend_from_slice(b"\",\"status\":");
        write_number(line, u64::from(reply.status));
        line.extend_from_slice(b",\"bytes\":");
        write_number(line, reply.bytes());
        line.extend_from_slice(b",\"duration_us\":");
        write_number(line, ended.saturating_duration_since(*began).as_micros() as u64);
        line.extend_from_slice(b",\"layer\":\"");
        line.extend_from_slice(reply.manner.layer.map_or("none", |layer| layer.name()).as_bytes());
        line.extend_from_slice(b"\",\"method\":\"");
        write_text(line, request.method_name.as_bytes());
        line.extend_from_slice(b"\",\"target\":\"");
        write_text(line, request.target.as_bytes());
        line.push(b'"');
        let mut told = [false; FIELDS.len()];
        for field in request.fields {
            let known = FIELDS.iter().position(|(name, _)| field.name.eq_ignore_ascii_case(name));
            // A field that is sent again is no second key.
            let Some(at) = known.filter(|at| !std::mem::replace(&mut told[*at], true)) else { continue };
            line.extend_from_slice(b",\"");
            line.extend_from_slice(FIELDS[at].1.as_bytes());
            line.extend_from_slice(b"\":\"");
            write_text(line, field.value);
            line.push(b'"');
        }
        if !client.is_empty() {
            line.extend_from_slice(b",\"client\":\"");
            line.extend_from_slice(client.as_bytes());
            line.push(b'"');
        }
        if let Some(deployment) = &reply.manner.deployment {
            line.extend_from_slice(b",\"deployment\":\"dpl_");
            line.extend_from_slice(deployment.body().as_bytes());
            line.push(b'"');
        }
        line.extend_from_slice(b"}\n");
        if self.buffer.len() >= FULL {
            self.give_away();
        }
    }

    /// Hands over what was written so far.
    pub fn give_away(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let spent = self.log.spent.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let empty = spent.unwrap_or_else(|| Vec::with_capacity(FULL + 4096));
        let full = std::mem::replace(&mut self.buffer, empty);
        let sent = self.log.full.try_send(full);
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) = sent {
            count_lost(&lost);
            // Its room is used again.
            self.buffer = lost;
            self.buffer.clear();
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.give_away();
    }
}

fn write_number(line: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[at..]);
}

/// Text of a visitor, as a JSON string may hold it, cut where it is too long.
fn write_text(line: &mut Vec<u8>, text: &[u8]) {
    let text = &text[..text.len().min(MAX_TEXT)];
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    // All of it is looked at, many bytes at a time, since nearly all texts are.
    if text.iter().fold(true, |plain, byte| plain & is_plain(byte)) {
        line.extend_from_slice(text);
        return;
    }
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' | '\\' => line.extend_from_slice(&[b'\\', character as u8]),
            control if control.is_control() => {
                // A vector takes whatever is written.
                let _ = write!(line, "\\u{:04x}", control as u32);
            }
            other => line.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_visitors_stay_inside_their_string() {
        for text in ["plain", "a\"b\\c", "tab\tline\n\u{7f}", "\u{9b}2J", "caf\u{e9} \u{1f600}", ""] {
            let mut line = vec![b'"'];
            write_text(&mut line, text.as_bytes());
            line.push(b'"');
            assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), text);
        }
        let mut line = Vec::new();
        write_text(&mut line, &[b'x'; 10_000]);
        assert_eq!(line.len(), MAX_TEXT);
        line.clear();
        write_text(&mut line, b"\xff\"");
        assert_eq!(String::from_utf8(line).unwrap(), "\u{fffd}\\\"");
    }

    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 7, 10, 1_234_567, u64::MAX] {
            let mut line = Vec::new();
            write_number(&mut line, number);
            assert_eq!(String::from_utf8(line).unwrap(), number.to_string());
        }
    }

    #[test]
    fn a_log_that_was_moved_away_goes_on_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let mut log = LogFile::open(path.clone()).unwrap();
        log.write_all(b"one\n").unwrap();
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        log.looked = Instant::now().checked_sub(LOOK_AFTER).unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "two\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("access.log.1")).unwrap(), "one\n");
    }
}
