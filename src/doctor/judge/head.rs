//! What the head of a response says.

use super::super::arrivals::Arrivals;
use super::super::chain::{Product, hops};
use super::super::finding::{Finding, size};
use super::super::observation::{Head, Observation};
use super::super::rule::Rule;
use crate::sse::parse::parse;
use crate::wire::{BodyLength, is_event_stream};
use http::Version;

/// Why the response is no event stream; empty if it is one.
pub(super) fn refused(seen: &Observation, head: &Head, arrivals: &Arrivals) -> Vec<Finding> {
    let status = head.status;
    let shown = match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    let says = excerpt(&arrivals.bytes);
    if !status.is_success() {
        let evidence = match seen.field("location") {
            Some(target) => format!("{shown}: it redirects to {target}, so measure that"),
            None if says.is_empty() => shown,
            None => format!("{shown}: {says}"),
        };
        return vec![Finding::certain(Rule::Status, evidence)];
    }
    let labels = head.headers.get_all("content-type").iter();
    if is_event_stream(labels.map(http::HeaderValue::as_bytes)) {
        return cached(seen).into_iter().collect();
    }
    let label = seen.field("content-type");
    let label = label.as_deref().unwrap_or("none");
    let text = String::from_utf8_lossy(&arrivals.bytes).to_ascii_lowercase();
    let kind = if !parse(&arrivals.bytes).is_empty() && !text.contains("<html") {
        "; the body is one: clients and proxies use the label".to_owned()
    } else if text.contains("type=\"password\"") || text.contains("type=password") {
        "; it looks like a login page: is a cookie or a token missing?".to_owned()
    } else if says.is_empty() {
        String::new()
    } else {
        format!("; it says: {says}")
    };
    let evidence = format!("{shown} with Content-Type {label}{kind}");
    vec![Finding::certain(Rule::ContentType, evidence)]
}

fn cached(seen: &Observation) -> Option<Finding> {
    let age = seen.field("age").and_then(|age| age.parse::<u64>().ok());
    let hit = [
        "x-cache",
        "cf-cache-status",
        "x-vercel-cache",
        "x-cache-status",
    ]
    .into_iter()
    .find_map(|name| Some((name, seen.field(name)?)))
    .filter(|(_, value)| value.to_ascii_lowercase().contains("hit"));
    let evidence = match (age, hit) {
        (_, Some((name, value))) => format!("{name}: {value}"),
        (Some(age @ 1..), None) => format!("Age: {age}"),
        _ => return None,
    };
    Some(Finding::certain(Rule::Cached, evidence))
}

/// Findings about the head of an event stream whose events are held or not.
pub(super) fn judge(
    seen: &Observation,
    head: &Head,
    arrivals: &Arrivals,
    is_held: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |rule, evidence: String| findings.push(Finding::certain(rule, evidence));
    if let Some(coding) = &arrivals.coding {
        let asked = if seen.offers_compression {
            "the request offers compression, as browsers do"
        } else {
            "though the request asks for identity"
        };
        let flushed = if is_held {
            "events are held"
        } else {
            "each event is flushed"
        };
        add(
            Rule::Compressed,
            format!("Content-Encoding: {coding}, {asked}; {flushed}"),
        );
    }
    if let Some(BodyLength::Bytes(length)) = head.framing {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        add(
            Rule::ContentLength,
            format!(
                "{}: the stream ends there, or a client waits for the rest",
                size(length)
            ),
        );
    }
    if head.version == Version::HTTP_10 {
        add(Rule::Http10, "HTTP/1.0 has no chunks".to_owned());
    } else if head.framing == Some(BodyLength::UntilClose) {
        add(
            Rule::CloseDelimited,
            "neither chunked nor a length: clients cannot tell a cut from the end".to_owned(),
        );
    }
    if head.version < Version::HTTP_2 {
        let evidence = "it came over HTTP/1.1, of which a browser opens six connections to a host, shared by all tabs; over HTTP/2 there is no such limit";
        add(Rule::SixConnections, evidence.to_owned());
    }
    let control = seen.field("cache-control").unwrap_or_default();
    let shown = if control.is_empty() {
        "missing"
    } else {
        &control
    };
    if !["no-cache", "no-store", "private"]
        .iter()
        .any(|kept| seen.lists("cache-control", kept))
    {
        add(Rule::NoCache, format!("Cache-Control: {shown}"));
    }
    if !seen.lists("cache-control", "no-transform") {
        add(Rule::NoTransform, format!("Cache-Control: {shown}"));
    }
    let signs = hops(seen);
    let removes = |product| matches!(product, Product::Nginx | Product::IngressNginx);
    let is_no = seen
        .field("x-accel-buffering")
        .is_some_and(|value| value.trim() == "no");
    if !is_no && !signs.iter().any(|hop| removes(hop.product)) {
        add(
            Rule::AccelBuffering,
            "an nginx in front of this hop would buffer the stream".to_owned(),
        );
    }
    if let Some(tag) = seen.field("etag") {
        add(Rule::Etag, format!("ETag: {tag}"));
    }
    if seen.lists("vary", "accept-encoding") && arrivals.coding.is_none() {
        add(
            Rule::Vary,
            "a client that offers other codings may get a compressed stream".to_owned(),
        );
    }
    findings
}

/// The first words of a page.
fn excerpt(body: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned();
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|start| {
        let start = start + "<title>".len();
        let end = start + lower[start..].find("</title>")?;
        text.get(start..end)
    });
    let words: Vec<_> = title.unwrap_or(&text).split_whitespace().collect();
    let mut words = words.join(" ");
    if words.len() > LONGEST {
        words.truncate(words.floor_char_boundary(LONGEST));
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::judge_one;
    use super::*;
    use crate::doctor::testing::{found, seen};

    #[test]
    fn a_healthy_head_has_no_finding() {
        assert_eq!(found(&seen()), []);
    }

    #[test]
    fn what_is_no_event_stream() {
        for (status, fields, body, rule, part) in [
            (
                302,
                &[("location", "/login")][..],
                "",
                Rule::Status,
                "/login",
            ),
            (
                502,
                &[],
                "<html><title>502 Bad Gateway</title>",
                Rule::Status,
                "502 Bad Gateway",
            ),
            (
                200,
                &[("content-type", "application/json")],
                "{}",
                Rule::ContentType,
                "says: {}",
            ),
            (
                200,
                &[("content-type", "text/html")],
                "<html><input type=\"password\">",
                Rule::ContentType,
                "login",
            ),
            (
                200,
                &[("content-type", "text/plain")],
                "data: x\n\n",
                Rule::ContentType,
                "the label",
            ),
            (
                200,
                &[("content-type", "text/event-stream"), ("age", "3")],
                "",
                Rule::Cached,
                "Age: 3",
            ),
            (
                200,
                &[
                    ("content-type", "text/event-stream"),
                    ("x-cache", "HIT from x"),
                ],
                "",
                Rule::Cached,
                "HIT",
            ),
        ] {
            let mut seen = seen();
            seen.set_status(status);
            seen.set_fields(fields);
            seen.set_body(body.as_bytes());
            let findings = judge_one(&seen);
            assert_eq!(findings[0].rule, rule, "{status} {fields:?}");
            assert!(
                findings[0].evidence.contains(part),
                "{}",
                findings[0].evidence
            );
        }
        let mut labelled = seen();
        labelled.add_field("content-type", "Text/Event-Stream; charset=utf-8");
        labelled.add_field("age", "0");
        labelled.add_field("x-cache", "MISS");
        assert_eq!(found(&labelled), []);
    }

    #[test]
    fn what_the_head_of_an_event_stream_lacks() {
        for (name, value, rule) in [
            ("cache-control", "max-age=60, no-transform", Rule::NoCache),
            ("cache-control", "no-cache", Rule::NoTransform),
            ("x-accel-buffering", "yes", Rule::AccelBuffering),
            ("etag", "\"x\"", Rule::Etag),
            ("vary", "Origin, Accept-Encoding", Rule::Vary),
        ] {
            let mut seen = seen();
            seen.add_field(name, value);
            assert_eq!(found(&seen), [rule], "{name}");
        }
        let mut behind_nginx = seen();
        behind_nginx.add_field("x-accel-buffering", "");
        behind_nginx.add_field("server", "nginx");
        assert_eq!(found(&behind_nginx), [], "it removes the field");
        let mut other = seen();
        other.add_field("vary", "Origin");
        assert_eq!(found(&other), []);
    }

    #[test]
    fn versions_and_framing() {
        let head = |version, framing| {
            let mut seen = seen();
            let head = seen.head.as_mut().unwrap();
            head.version = version;
            head.framing = Some(framing);
            found(&seen)
        };
        let six = Rule::SixConnections;
        assert_eq!(head(Version::HTTP_11, BodyLength::Chunked), [six]);
        assert_eq!(
            head(Version::HTTP_11, BodyLength::UntilClose),
            [Rule::CloseDelimited, six]
        );
        assert_eq!(
            head(Version::HTTP_10, BodyLength::UntilClose),
            [Rule::Http10, six]
        );
        assert_eq!(
            head(Version::HTTP_2, BodyLength::Bytes(5)),
            [Rule::ContentLength]
        );
    }

    #[test]
    fn a_page_is_quoted_briefly() {
        assert_eq!(excerpt(b"<html><TITLE>\n No </TITLE>"), "No");
        assert_eq!(excerpt("é".repeat(200).as_bytes()).chars().count(), 61);
    }
}
