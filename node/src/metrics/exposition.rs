//! The text format of metrics, and the declaration of metrics in groups.
//! Source: Prometheus documentation, "Exposition formats", text format 0.0.4.

use super::instrument::{Counter, CounterVec, Gauge, Histogram};
use std::fmt::{Display, Write as _};

/// The media type of the format.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The type of a family of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A number whose `Display` form is valid in the format.
pub trait Number: Display + Copy {}

impl Number for u32 {}
impl Number for u64 {}
impl Number for usize {}
impl Number for f64 {}

/// The name and value of a label.
pub type Label<'l> = (&'static str, &'l str);

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// The text of the page.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Starts a family; its name must be unique in the page.
    pub fn family(&mut self, kind: Kind, name: &'static str, help: &'static str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { page: self, name }
    }

    /// Writes a counter without labels.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: impl Number) {
        self.family(Kind::Counter, name, help).value(&[], value);
    }

    /// Writes a gauge without labels.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Number) {
        self.family(Kind::Gauge, name, help).value(&[], value);
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("writing to a string succeeds");
    }
}

/// The metrics of a name, distinguished by their labels.
#[derive(Debug)]
pub struct Family<'p> {
    page: &'p mut Page,
    name: &'static str,
}

impl Family<'_> {
    /// Writes a line with one value of the family.
    pub fn value(&mut self, labels: &[Label], value: impl Number) {
        self.line("", labels, None, value);
    }

    /// Writes a histogram of the family: its buckets, sum and count.
    pub fn values(&mut self, labels: &[Label], values: &Histogram) {
        let values = values.get();
        for (end, count) in values.buckets {
            self.line("_bucket", labels, Some(("le", &end.to_string())), count);
        }
        self.line("_bucket", labels, Some(("le", "+Inf")), values.count);
        self.line("_sum", labels, None, values.sum);
        self.line("_count", labels, None, values.count);
    }

    fn line(&mut self, suffix: &str, labels: &[Label], last: Option<Label>, value: impl Number) {
        let Family { page, name } = self;
        page.put(format_args!("{name}{suffix}"));
        let mut mark = '{';
        for (label, value) in labels.iter().copied().chain(last) {
            page.put(format_args!("{mark}{label}=\"{}\"", escaped(value)));
            mark = ',';
        }
        let end = if mark == ',' { "}" } else { "" };
        page.put(format_args!("{end} {value}\n"));
    }
}

/// An instrument that can be written as a family of its own.
pub trait Metric {
    /// Writes the instrument as a metric family with this name and help text.
    fn write(&self, page: &mut Page, name: &'static str, help: &'static str);
}

impl Metric for Counter {
    fn write(&self, page: &mut Page, name: &'static str, help: &'static str) {
        page.counter(name, help, self.get());
    }
}

impl Metric for Gauge {
    fn write(&self, page: &mut Page, name: &'static str, help: &'static str) {
        page.gauge(name, help, self.get());
    }
}

impl Metric for Histogram {
    fn write(&self, page: &mut Page, name: &'static str, help: &'static str) {
        page.family(Kind::Histogram, name, help).values(&[], self);
    }
}

impl Metric for CounterVec {
    fn write(&self, page: &mut Page, name: &'static str, help: &'static str) {
        let mut family = page.family(Kind::Counter, name, help);
        for (reason, count) in self.get() {
            family.value(&[("reason", reason)], count);
        }
    }
}

/// Declares a group of metrics: per row the field, its initial value, name and help text.
macro_rules! metrics {
    ($(#[$attribute:meta])* pub struct $group:ident {$(
        $field:ident: $type:ty = $value:expr, $name:literal, $help:literal;
    )*}) => {
        $(#[$attribute])*
        #[derive(Debug)]
        pub struct $group {$(
            #[doc = $help]
            pub $field: $type,
        )*}

        impl Default for $group {
            fn default() -> $group {
                $group { $($field: $value,)* }
            }
        }

        impl $group {
            /// Writes all metrics of the group.
            pub fn write(&self, page: &mut $crate::metrics::exposition::Page) {
                $(self.$field.write(page, $name, $help);)*
            }
        }
    };
}
pub(super) use metrics;

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_help_type_and_values() {
        let mut page = Page::default();
        page.counter("blocks_total", "Blocks.", 3_u64);
        page.gauge("progress_ratio", "How \\far.\nReally.", 0.5);
        let mut peers = page.family(Kind::Gauge, "peers", "Peers.");
        peers.value(&[("direction", "inbound")], 1_usize);
        peers.value(&[("direction", "out\"bound\\\n"), ("id", "é")], 0_usize);
        page.family(Kind::Counter, "none_total", "None.");
        let expected = "# HELP blocks_total Blocks.\n\
                        # TYPE blocks_total counter\n\
                        blocks_total 3\n\
                        # HELP progress_ratio How \\\\far.\\nReally.\n\
                        # TYPE progress_ratio gauge\n\
                        progress_ratio 0.5\n\
                        # HELP peers Peers.\n\
                        # TYPE peers gauge\n\
                        peers{direction=\"inbound\"} 1\n\
                        peers{direction=\"out\\\"bound\\\\\\n\",id=\"é\"} 0\n\
                        # HELP none_total None.\n\
                        # TYPE none_total counter\n";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    fn histogram_buckets_are_cumulative_up_to_infinity() {
        let depths = Histogram::of_numbers(&[1, 10]);
        [1, 2, 100].into_iter().for_each(|depth| depths.count(depth));
        let mut page = Page::default();
        page.family(Kind::Histogram, "depth", "Depth.").values(&[("of", "x")], &depths);
        let expected = "# HELP depth Depth.\n\
                        # TYPE depth histogram\n\
                        depth_bucket{of=\"x\",le=\"1\"} 1\n\
                        depth_bucket{of=\"x\",le=\"10\"} 2\n\
                        depth_bucket{of=\"x\",le=\"+Inf\"} 3\n\
                        depth_sum{of=\"x\"} 103\n\
                        depth_count{of=\"x\"} 3\n";
        assert_eq!(page.into_text(), expected);
    }
}
