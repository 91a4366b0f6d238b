//! The log as an object: one JSON document a line, in order, compressed with Zstandard. It is
//! complete once its deployment has ended; before that it may be there as far as the log has come.

use crate::app::App;
use crate::app::deadline::{STORED_LOG, within};
use crate::domain::id::DeploymentId;
use crate::domain::log::LogLine;
use crate::ports::blobs::{Key, Tag};
use crate::ports::error::{StoreError, StoreErrorKind};
use bytes::{Buf, Bytes};
use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

/// Zstandard's own default: logs shrink to about a tenth.
const LEVEL: i32 = 3;
/// One encoded line at most: [`LogLine::MAX_TEXT`] bytes, each as `\u001b`, and the other fields.
const LINE_BYTES: u64 = 32 * 1024;

/// While a log is stored, and looked for, before it is complete: the shortest pause, and how many
/// bytes a second are written for it on the whole, since each time it is written whole.
const PAUSE: Duration = Duration::from_secs(2);
const BYTES_PER_S: usize = 128 * 1024;

/// How long an object of this length is left alone after it was written or read.
pub(super) fn pace(length: usize) -> Duration {
    PAUSE.max(Duration::from_secs((length / BYTES_PER_S) as u64))
}

/// A stored log that is being read, unpacked as far as it was read.
pub(super) struct StoredLog {
    key: Key,
    unpacked: BufReader<zstd::Decoder<'static, bytes::buf::Reader<Bytes>>>,
}

/// Where one state of an object is replaced by the next.
pub(super) struct Found {
    pub(super) log: StoredLog,
    pub(super) tag: Tag,
    /// Of the object, in bytes.
    pub(super) length: usize,
}

pub(super) fn encode(lines: &[LogLine]) -> Result<Bytes, StoreError> {
    let encoded = || {
        let mut packed = zstd::Encoder::new(Vec::new(), LEVEL)?;
        for line in lines {
            serde_json::to_writer(&mut packed, line)?;
            packed.write_all(b"\n")?;
        }
        packed.finish()
    };
    let encoded: std::io::Result<Vec<u8>> = encoded();
    encoded
        .map(Bytes::from)
        .map_err(|error| StoreError::new(StoreErrorKind::Internal, "encoding a log", error))
}

impl StoredLog {
    pub(super) fn open(key: Key, packed: Bytes) -> Result<Self, StoreError> {
        match zstd::Decoder::with_buffer(packed.reader()) {
            Ok(decoder) => Ok(Self { key, unpacked: BufReader::new(decoder) }),
            Err(error) => Err(corrupt(&key, error)),
        }
    }

    /// The next lines after number `after`, at most `limit`; none at the end.
    pub(super) fn read(&mut self, after: u64, limit: usize) -> Result<Vec<LogLine>, StoreError> {
        let mut lines = Vec::new();
        let mut json = Vec::new();
        while lines.len() < limit {
            json.clear();
            let taken = (&mut self.unpacked).take(LINE_BYTES).read_until(b'\n', &mut json);
            if taken.map_err(|error| corrupt(&self.key, error))? == 0 {
                break;
            }
            let line: LogLine = serde_json::from_slice(&json).map_err(|error| corrupt(&self.key, error))?;
            if line.seq > after {
                lines.push(line);
            }
        }
        Ok(lines)
    }

    pub(super) fn read_all(mut self) -> Result<Vec<LogLine>, StoreError> {
        self.read(0, usize::MAX)
    }
}

impl App {
    /// The stored log of a deployment, if there is one.
    pub(super) async fn find_stored_log(&self, id: DeploymentId) -> Result<Option<Found>, StoreError> {
        let key = Key::log(id);
        // Never reached by what was written under this policy, even if nothing of it could be packed.
        let most = self.policy.log_bytes.saturating_mul(16).saturating_add(16 << 20);
        let Some(object) = within(STORED_LOG, "reading a log", self.blobs.get(&key, most)).await? else {
            return Ok(None);
        };
        let length = object.bytes.len();
        let log = StoredLog::open(key, object.bytes)?;
        Ok(Some(Found { log, tag: object.tag, length }))
    }
}

fn corrupt(key: &Key, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("reading {key}"), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deployment::StepName;
    use crate::domain::log::LogStream;
    use time::OffsetDateTime;

    fn key() -> Key {
        Key::log(DeploymentId::new(OffsetDateTime::UNIX_EPOCH, &mut rand::rng()))
    }

    fn line(seq: u64, text: &str) -> LogLine {
        LogLine {
            seq,
            time: OffsetDateTime::UNIX_EPOCH,
            stream: LogStream::Stdout,
            step: StepName::Build,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_stored_log_reads_back_from_any_number_and_in_pieces() {
        let lines: Vec<_> = (1..=10).map(|seq| line(seq, &format!("line {seq}\u{1b}[0m\t\"é\""))).collect();
        let packed = encode(&lines).unwrap();
        assert_eq!(StoredLog::open(key(), packed.clone()).unwrap().read_all().unwrap(), lines);
        let mut log = StoredLog::open(key(), packed).unwrap();
        assert_eq!(log.read(3, 4).unwrap(), lines[3..7]);
        assert_eq!(log.read(3, 4).unwrap(), lines[7..]);
        assert!(log.read(3, 4).unwrap().is_empty());
    }

    #[test]
    fn the_longest_line_reads_back() {
        let longest = line(u64::MAX, &"\u{1b}".repeat(LogLine::MAX_TEXT));
        let packed = encode(std::slice::from_ref(&longest)).unwrap();
        assert_eq!(StoredLog::open(key(), packed).unwrap().read_all().unwrap(), [longest]);
    }

    #[test]
    fn an_empty_log_has_no_line_and_a_broken_one_is_corrupt() {
        assert!(StoredLog::open(key(), encode(&[]).unwrap()).unwrap().read_all().unwrap().is_empty());
        let whole = encode(&[line(1, "first"), line(2, "second")]).unwrap();
        for broken in [Bytes::from_static(b"no log"), whole.slice(..whole.len() / 2)] {
            let error = StoredLog::open(key(), broken).and_then(StoredLog::read_all).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Corrupt);
        }
    }
}
