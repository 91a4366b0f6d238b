//! What the edge counts of its answers, by status and layer, with the counters at hand: looking one
//! up by its labels would cost more than the answer.

use crate::edge::layers::Layer;
use crate::edge::reply::Reply;
use metrics::Counter;
use std::cell::OnceCell;

/// From 100 to 599; others are counted as the last.
const STATUSES: usize = 500;

/// One thread's handles of counters that all threads share.
pub struct Tally {
    answers: Box<[OnceCell<Counter>]>,
    bytes: Counter,
}

impl Default for Tally {
    fn default() -> Self {
        let cells = STATUSES * (Layer::ALL.len() + 1);
        Self {
            answers: std::iter::repeat_with(OnceCell::new).take(cells).collect(),
            bytes: metrics::counter!("gv_edge_bytes_total"),
        }
    }
}

impl Tally {
    pub fn count(&self, reply: &Reply) {
        let status = usize::from(reply.status).saturating_sub(100).min(STATUSES - 1);
        let layer = reply.manner.layer.map_or(Layer::ALL.len(), |layer| layer as usize);
        let cell = &self.answers[status * (Layer::ALL.len() + 1) + layer];
        let counter = cell.get_or_init(|| {
            let layer = reply.manner.layer.map_or("none", Layer::name);
            metrics::counter!("gv_edge_requests_total", "status" => reply.status.to_string(), "layer" => layer)
        });
        counter.increment(1);
        let bytes = reply.bytes();
        self.bytes.increment(bytes);
        if let Some(site) = reply.counters() {
            site.requests.increment(1);
            site.bytes.increment(bytes);
        }
    }
}
