//! Prometheus' text format, version 0.0.4: as much as fixed families of counters, gauges and histograms take.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::{self, Display, Write};

use crate::counters::Histogram;

/// What a family counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Labels and their values, in the order in which they are written.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// The text, family by family.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// The family that is being written; its samples have to be contiguous.
#[derive(Debug)]
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Text {
    /// Begins a family, whose name gets the project's prefix.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        let text = &mut self.0;
        let kind = kind.name();
        let help = Escaped {
            text: help,
            quotes: false,
        };
        write(
            text,
            format_args!("# HELP sse_sidecar_{name} {help}\n# TYPE sse_sidecar_{name} {kind}\n"),
        );
        Family { text, name }
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// One series of a counter or a gauge.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// One series of a histogram.
    pub(super) fn histogram<const N: usize>(
        &mut self,
        labels: Labels<'_>,
        bounds: &[u64; N],
        histogram: &Histogram<N>,
    ) {
        let mut count = 0;
        let bounds = bounds.iter().map(|bound| Millionths(*bound).to_string());
        let bounds = bounds.chain(["+Inf".to_owned()]);
        for (bound, times) in bounds.zip(histogram.buckets()) {
            count += times;
            self.line("_bucket", labels, Some(("le", &bound)), count);
        }
        self.line("_sum", labels, None, Millionths(histogram.sum()));
        self.line("_count", labels, None, count);
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        last: Option<(&str, &str)>,
        value: impl Display,
    ) {
        write(self.text, format_args!("sse_sidecar_{}{suffix}", self.name));
        let labels = labels.iter().copied().chain(last);
        let mut opening = '{';
        for (name, value) in labels {
            let value = Escaped {
                text: value,
                quotes: true,
            };
            write(self.text, format_args!("{opening}{name}=\"{value}\""));
            opening = ',';
        }
        if opening == ',' {
            self.text.push('}');
        }
        write(self.text, format_args!(" {value}\n"));
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Millionths as a decimal number, exactly.
struct Millionths(u64);

impl Display for Millionths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{rest:06}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// The value of a label, or a help text, which has the same escapes but for quotes.
struct Escaped<'a> {
    text: &'a str,
    quotes: bool,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.text.chars() {
            match c {
                '\\' => f.write_str(r"\\")?,
                '\n' => f.write_str(r"\n")?,
                '"' if self.quotes => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Writing to a string does not fail.
fn write(text: &mut String, arguments: fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_help_its_type_and_its_samples() {
        let mut text = Text::default();
        let mut family = text.family(Kind::Counter, "a_total", "How \"often\"\\\nit was.");
        family.sample(&[], 1);
        family.sample(&[("route", "a\"b\\c\nd"), ("side", "é")], 2);
        text.family(Kind::Gauge, "b", "B.");
        assert_eq!(
            text.finish(),
            concat!(
                "# HELP sse_sidecar_a_total How \"often\"\\\\\\nit was.\n",
                "# TYPE sse_sidecar_a_total counter\n",
                "sse_sidecar_a_total 1\n",
                "sse_sidecar_a_total{route=\"a\\\"b\\\\c\\nd\",side=\"é\"} 2\n",
                "# HELP sse_sidecar_b B.\n",
                "# TYPE sse_sidecar_b gauge\n",
            )
        );
    }

    #[test]
    fn buckets_hold_what_is_in_those_below_them() {
        let bounds = [1_000, 2_500_000, 120_000_000];
        let histogram = Histogram::default();
        for micros in [1_000, 1_001, 1_002, 120_000_001] {
            histogram.observe(&bounds, micros);
        }
        let mut text = Text::default();
        let mut family = text.family(Kind::Histogram, "a_seconds", "A.");
        family.histogram(&[("route", "x")], &bounds, &histogram);
        let text = text.finish();
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "sse_sidecar_a_seconds_bucket{route=\"x\",le=\"0.001\"} 1",
                "sse_sidecar_a_seconds_bucket{route=\"x\",le=\"2.5\"} 3",
                "sse_sidecar_a_seconds_bucket{route=\"x\",le=\"120\"} 3",
                "sse_sidecar_a_seconds_bucket{route=\"x\",le=\"+Inf\"} 4",
                "sse_sidecar_a_seconds_sum{route=\"x\"} 120.003004",
                "sse_sidecar_a_seconds_count{route=\"x\"} 4",
            ]
        );
    }

    #[test]
    fn decimals_are_exact() {
        for (millionths, text) in [
            (0, "0"),
            (1, "0.000001"),
            (100_000, "0.1"),
            (86_400_000_000, "86400"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            assert_eq!(Millionths(millionths).to_string(), text);
        }
    }
}
