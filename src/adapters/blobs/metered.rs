//! Counts and times what is done to an object storage, whichever it is.
//!
//! `gv_blobs_operations_total{op, result}`, `gv_blobs_bytes_total{direction}` and
//! `gv_blobs_duration_seconds{op}`. An operation is an object, but for `missing`, which is a call:
//! `put_all` counts as many times `put`. A stream's bytes are counted as they are read.

use crate::ports::blobs::{Blobs, Body, Key, Object, Opened, Tag};
use crate::ports::error::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::StreamExt as _;
use metrics::{counter, describe_counter, describe_histogram, histogram};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

pub struct Metered {
    inner: Arc<dyn Blobs>,
}

impl Metered {
    pub fn new(inner: Arc<dyn Blobs>) -> Self {
        describe_counter!("gv_blobs_operations_total", "Objects read from and written to storage.");
        describe_counter!("gv_blobs_bytes_total", metrics::Unit::Bytes, "Bytes of objects, by direction.");
        describe_histogram!("gv_blobs_duration_seconds", metrics::Unit::Seconds, "Time of one call.");
        Self { inner }
    }
}

#[async_trait]
impl Blobs for Metered {
    async fn put(&self, key: &Key, body: Body) -> Result<(), StoreError> {
        let (begun, bytes) = (Instant::now(), body.len());
        let done = self.inner.put(key, body).await;
        record("put", begun, 1, outcome(&done));
        wrote(bytes, done.is_ok());
        done
    }

    async fn put_all(&self, objects: Vec<(Key, Body)>) -> Result<(), StoreError> {
        let (begun, count) = (Instant::now(), objects.len() as u64);
        let bytes = objects.iter().map(|(_, body)| body.len()).sum();
        let done = self.inner.put_all(objects).await;
        // Of its own name in the histogram, where one batch would drown the single calls.
        histogram!("gv_blobs_duration_seconds", "op" => "put_all").record(begun.elapsed());
        count_operations("put", count, outcome(&done));
        wrote(bytes, done.is_ok());
        done
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<bool, StoreError> {
        let (begun, len) = (Instant::now(), bytes.len() as u64);
        let done = self.inner.put_new(key, bytes).await;
        record("put_new", begun, 1, outcome(&done));
        wrote(len, matches!(done, Ok(true)));
        done
    }

    async fn replace(&self, key: &Key, bytes: Bytes, expected: Option<&Tag>) -> Result<bool, StoreError> {
        let (begun, len) = (Instant::now(), bytes.len() as u64);
        let done = self.inner.replace(key, bytes, expected).await;
        record("replace", begun, 1, outcome(&done));
        wrote(len, matches!(done, Ok(true)));
        done
    }

    async fn get(&self, key: &Key, max_bytes: u64) -> Result<Option<Object>, StoreError> {
        let begun = Instant::now();
        let done = self.inner.get(key, max_bytes).await;
        record("get", begun, 1, found(&done));
        if let Ok(Some(object)) = &done {
            read(&object.bytes);
        }
        done
    }

    async fn open(&self, key: &Key, range: Option<Range<u64>>) -> Result<Option<Opened>, StoreError> {
        let begun = Instant::now();
        let done = self.inner.open(key, range).await;
        record("open", begun, 1, found(&done));
        let counted = |opened: Opened| Opened {
            stream: opened.stream.inspect(|piece| _ = piece.as_ref().map(read)).boxed(),
            ..opened
        };
        done.map(|opened| opened.map(counted))
    }

    async fn missing(&self, keys: &[Key]) -> Result<Vec<Key>, StoreError> {
        let begun = Instant::now();
        let done = self.inner.missing(keys).await;
        record("missing", begun, 1, outcome(&done));
        done
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let begun = Instant::now();
        let done = self.inner.delete(key).await;
        record("delete", begun, 1, outcome(&done));
        done
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    fn caution(&self) -> Option<&'static str> {
        self.inner.caution()
    }

    fn clock_ahead_s(&self) -> Option<i64> {
        self.inner.clock_ahead_s()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
}

fn record(op: &'static str, begun: Instant, count: u64, result: &'static str) {
    histogram!("gv_blobs_duration_seconds", "op" => op).record(begun.elapsed());
    count_operations(op, count, result);
}

fn count_operations(op: &'static str, count: u64, result: &'static str) {
    counter!("gv_blobs_operations_total", "op" => op, "result" => result).increment(count);
}

fn outcome<T>(done: &Result<T, StoreError>) -> &'static str {
    if done.is_ok() { "ok" } else { "error" }
}

fn found<T>(done: &Result<Option<T>, StoreError>) -> &'static str {
    match done {
        Ok(Some(_)) => "ok",
        Ok(None) => "absent",
        Err(_) => "error",
    }
}

fn read(bytes: &Bytes) {
    counter!("gv_blobs_bytes_total", "direction" => "read").increment(bytes.len() as u64);
}

fn wrote(bytes: u64, stored: bool) {
    if stored {
        counter!("gv_blobs_bytes_total", "direction" => "written").increment(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::blobs::filesystem::FilesystemBlobs;
    use crate::domain::host::Hostname;
    use metrics_exporter_prometheus::PrometheusBuilder;

    fn key(host: &str) -> Key {
        Key::host(&Hostname::parse(host).unwrap())
    }

    async fn use_storage(root: &std::path::Path) {
        let store = Metered::new(Arc::new(FilesystemBlobs::open(root).unwrap()));
        let object = |host| (key(host), Body::Bytes("four".into()));
        store.put_all(vec![object("a.test"), object("b.test"), object("c.test")]).await.unwrap();
        store.get(&key("a.test"), 10).await.unwrap();
        store.get(&key("absent.test"), 10).await.unwrap();
        store.get(&key("a.test"), 1).await.unwrap_err();
        let opened = store.open(&key("b.test"), Some(1..3)).await.unwrap().unwrap();
        assert_eq!(opened.stream.count().await, 1);
    }

    #[test]
    fn each_object_and_each_byte_is_counted_by_operation_and_result() {
        let root = tempfile::tempdir().unwrap();
        let recorder = PrometheusBuilder::new().build_recorder();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        metrics::with_local_recorder(&recorder, || runtime.block_on(use_storage(root.path())));
        let text = recorder.handle().render();
        for line in [
            r#"gv_blobs_operations_total{op="put",result="ok"} 3"#,
            r#"gv_blobs_operations_total{op="get",result="ok"} 1"#,
            r#"gv_blobs_operations_total{op="get",result="absent"} 1"#,
            r#"gv_blobs_operations_total{op="get",result="error"} 1"#,
            r#"gv_blobs_operations_total{op="open",result="ok"} 1"#,
            r#"gv_blobs_bytes_total{direction="written"} 12"#,
            r#"gv_blobs_bytes_total{direction="read"} 6"#,
            r#"gv_blobs_duration_seconds_count{op="get"} 3"#,
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
