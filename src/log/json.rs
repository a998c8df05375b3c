//! Log lines for machines, one JSON object each: `{"timestamp":"…","level":"INFO","message":"stream ended","reason":"complete",…}`.
//!
//! tracing-subscriber has such a format too, which goes through four layers of writers byte by byte: over a quarter of what a short
//! stream cost.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::time::push_time;

/// A line is seldom longer, in bytes.
const USUAL_LENGTH: usize = 640;

/// Writes each event as an object: the time, the level, and its fields in their order.
#[derive(Debug)]
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line(String::with_capacity(USUAL_LENGTH));
        line.0.push_str("{\"timestamp\":\"");
        push_time(&mut line.0)?;
        line.0.push_str("\",\"level\":\"");
        line.0.push_str(event.metadata().level().as_str());
        line.0.push('"');
        event.record(&mut line);
        line.0.push_str("}\n");
        writer.write_str(&line.0)
    }
}

/// An unfinished line: an object without its end.
struct Line(String);

impl Line {
    fn push_key(&mut self, field: &Field) {
        self.0.push_str(",\"");
        self.0.push_str(field.name()); // an identifier
        self.0.push_str("\":");
    }

    /// What JSON writes as Rust does.
    fn push_plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.push_key(field);
        write!(self.0, "{value}").expect("writing to memory does not fail");
    }
}

impl Visit for Line {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push_plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push_key(field);
        self.0.push_str(itoa::Buffer::new().format(value)); // a line has many
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push_plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push_plain(field, serde_json::Value::from(value)); // which has no NaN
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_key(field);
        self.0.push('"');
        push_escaped(&mut self.0, value);
        self.0.push('"');
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.push_key(field);
        self.0.push('"');
        // A value whose `Debug` fails has been written in part.
        let _ = write!(Escaping(&mut self.0), "{value:?}");
        self.0.push('"');
    }
}

/// Escapes text that is written to it.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        push_escaped(self.0, part);
        Ok(())
    }
}

/// Adds `text` as the inside of a JSON string.
fn push_escaped(line: &mut String, text: &str) {
    let needs_escape = |byte| byte < b' ' || byte == b'"' || byte == b'\\';
    // It does not stop at the first: so it is done for many bytes at once.
    let any = |found, byte| found | needs_escape(byte);
    if text.bytes().fold(false, any) {
        let string = serde_json::Value::from(text).to_string();
        line.push_str(&string[1..string.len() - 1]);
    } else {
        line.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// The lines that `log` writes, without the time.
    fn written(log: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone());
        let layer = layer.event_format(Json);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let timeless = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
            let rest = line.strip_prefix("{\"timestamp\":\"").unwrap();
            rest["2022-02-15T18:47:10.821315Z".len()..].to_owned()
        };
        text.lines().map(timeless).collect()
    }

    // The expected lines are those of tracing-subscriber's own format, version 0.3.23.

    #[test]
    fn every_kind_of_value() {
        let error = io::Error::other("broken \"pipe\"");
        let lines = written(|| {
            tracing::info!(
                str = "text",
                string = String::from("text"),
                display = %"a \"quoted\" text",
                debug = ?"a \"quoted\" text",
                error = &error as &dyn std::error::Error,
                bytes = &b"\x00\xFFx"[..],
                "stream opened"
            );
            tracing::warn!(
                yes = true,
                none = None::<&str>,
                some = Some(1),
                shown = Some(tracing::field::display("127.0.0.1:80")),
                "{} \n",
                1
            );
            tracing::error!(
                u64 = u64::MAX,
                i64 = i64::MIN,
                u16 = 7_u16,
                u128 = u128::MAX,
                i128 = i128::MIN
            );
            tracing::debug!(
                f64 = 1.5,
                whole = 2.0,
                large = 1e300,
                small = 1e-7,
                nan = f64::NAN
            );
            tracing::trace!(a.b = 2, r#type = 3);
        });
        let expected = [
            r#"","level":"INFO","message":"stream opened","str":"text","string":"text","display":"a \"quoted\" text","debug":"\"a \\\"quoted\\\" text\"","error":"broken \"pipe\"","bytes":"[00 ff 78]"}"#,
            r#"","level":"WARN","message":"1 \n","yes":true,"some":1,"shown":"127.0.0.1:80"}"#,
            r#"","level":"ERROR","u64":18446744073709551615,"i64":-9223372036854775808,"u16":7,"u128":"340282366920938463463374607431768211455","i128":"-170141183460469231731687303715884105728"}"#,
            r#"","level":"DEBUG","f64":1.5,"whole":2.0,"large":1e+300,"small":1e-7,"nan":null}"#,
            r#"","level":"TRACE","a.b":2,"type":3}"#,
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn every_character_that_needs_an_escape() {
        let controls: String = (0..=0x20_u8).map(char::from).collect();
        let others = "caf\u{E9} \u{2028} \u{1F980} \x7F / \" \\";
        let lines = written(|| tracing::info!(str = &*controls, display = %controls, others));
        let escaped = r"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f ";
        let others = others.replace('\\', r"\\").replace('"', r#"\""#);
        let expected = format!(
            r#"","level":"INFO","str":"{escaped}","display":"{escaped}","others":"{others}"}}"#
        );
        assert_eq!(lines, [expected]);
    }
}
