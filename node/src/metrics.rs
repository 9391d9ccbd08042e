//! Metrics since the start of the node. The code that counts declares its metrics as a group, each in
//! one row with name and help text; a group writes itself to the page of `/metrics`. Values that a part
//! of the node holds anyway are sampled by `api::routes::metrics` when the page is requested.
//! Counting takes an atomic addition, or a short lock where there are labels.
//!
//! `prometheus-client` is not used: most metrics are sampled, which takes as many rows there, and it
//! writes OpenMetrics, which would change the served text format 0.0.4.

pub mod exposition;
pub mod http;
mod instrument;
pub mod process;
pub mod writer;

pub use instrument::{Counter, CounterVec, Gauge, Histogram};

use http::HttpMetrics;
use std::sync::Arc;
use writer::WriterMetrics;

/// All metrics that are counted rather than sampled.
#[derive(Debug, Default)]
pub struct Metrics {
    pub writer: WriterMetrics,
    pub http: Arc<HttpMetrics>,
}
