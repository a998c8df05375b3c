//! Whether a probe's bytes are those that were sent.

use super::super::arrivals::Arrivals;
use super::super::finding::{Finding, counted};
use super::super::observation::{End, Observation};
use super::super::plan::{NUMBER, Plan, STAMP};
use super::super::rule::Rule;
use super::ending;
use crate::sse::parse::{Kind, parse};
use std::time::Duration;

/// A line without its end, and the end.
type Line<'a> = (&'a [u8], &'a [u8]);

/// What was changed on the way.
pub(super) fn judge(seen: &Observation, plan: &Plan, arrivals: &Arrivals) -> Vec<Finding> {
    if arrivals.fault.is_some() || arrivals.items.is_empty() {
        return Vec::new();
    }
    // An early end is for another rule to report.
    let is_whole = seen.end == End::Complete && !ending::is_early(seen, plan);
    let received = received(arrivals, is_whole);
    let planned = planned(plan);
    let (mut got, sent) = (lines(&received), lines(&planned));
    let added = got.iter().filter(|line| is_foreign_comment(line.0)).count();
    got.retain(|line| !is_foreign_comment(line.0));
    let mut findings = Vec::new();
    let (got, sent) = (kept(&got, true), kept(&sent, true));
    if is_prefix(&got, &sent, is_whole) {
        if added > 0 {
            let evidence = format!("{}, such as a heartbeat", counted(added, "more comment"));
            findings.push(Finding::certain(Rule::HeartbeatAdded, evidence));
        }
        findings.extend(line_ends(&got, &sent));
        return findings;
    }
    let comments = |lines: &[Line<'_>]| lines.iter().filter(|line| is_comment(line.0)).count();
    let sent_comments = comments(&sent);
    if comments(&got) < sent_comments
        && is_prefix(&kept(&got, false), &kept(&sent, false), is_whole)
    {
        let evidence = format!("{} of {sent_comments} comments arrived", comments(&got));
        findings.push(Finding::certain(Rule::CommentsStripped, evidence));
        return findings;
    }
    let differs = (0..got.len().min(sent.len()))
        .find(|&index| got[index].0 != sent[index].0)
        .unwrap_or_else(|| got.len().min(sent.len()));
    let shown = |lines: &[Line<'_>]| {
        let line = lines.get(differs).map_or(&b"(nothing)"[..], |line| line.0);
        let mut text = line.escape_ascii().to_string();
        if text.len() > 60 {
            text.truncate(60);
            text.push('…');
        }
        text
    };
    let (heard, meant) = (parse(&received), parse(&planned));
    let events = if heard.len() == meant.len() {
        String::new()
    } else {
        format!("; {} of {} events are left", heard.len(), meant.len())
    };
    let evidence = format!(
        "line {}: `{}` was sent, `{}` arrived{events}",
        differs + 1,
        shown(&sent),
        shown(&got)
    );
    findings.push(Finding::certain(Rule::BytesChanged, evidence));
    findings
}

/// What arrived after the event that describes the request, without times; only whole events, if the stream is not whole.
fn received(arrivals: &Arrivals, is_whole: bool) -> Vec<u8> {
    let is_request = |kind: &Kind| matches!(kind, Kind::Event(event) if event.event == "request");
    let mut items = arrivals.items.iter().map(|arrival| &arrival.item);
    let begin = items
        .find(|item| is_request(&item.kind))
        .map_or(0, |item| item.end);
    let mut events = arrivals
        .items
        .iter()
        .filter(|arrival| matches!(arrival.item.kind, Kind::Event(_)));
    let end = match events.next_back() {
        Some(arrival) if !is_whole => arrival.item.end,
        _ => arrivals.bytes.len(),
    };
    let mut bytes = arrivals.bytes[begin..end.max(begin)].to_vec();
    clear_stamps(&mut bytes);
    bytes
}

fn planned(plan: &Plan) -> Vec<u8> {
    let steps = plan.steps().iter().enumerate();
    let bytes = steps.map(|(number, step)| step.what.bytes(number, Duration::ZERO));
    bytes.collect::<Vec<_>>().concat()
}

/// Zeroes all timestamps: the plan does not give them to the microsecond.
fn clear_stamps(bytes: &mut [u8]) {
    const LENGTH: usize = 2 + NUMBER + 1 + STAMP + 1;
    for start in 0..bytes.len().saturating_sub(LENGTH) {
        let window = &mut bytes[start..start + LENGTH];
        let (number, stamp) = (2..2 + NUMBER, 2 + NUMBER + 1..LENGTH - 1);
        let is_stamp = window.starts_with(b": ")
            && window[number.clone()].iter().all(u8::is_ascii_digit)
            && window[number.end] == b' '
            && window[stamp.clone()].iter().all(u8::is_ascii_digit)
            && window[LENGTH - 1] == b' ';
        if is_stamp {
            window[stamp].fill(b'0');
        }
    }
}

fn lines(mut bytes: &[u8]) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let length = bytes
            .iter()
            .position(|byte| matches!(byte, b'\r' | b'\n'))
            .unwrap_or(bytes.len());
        let (line, rest) = bytes.split_at(length);
        let end = match rest {
            [b'\r', b'\n', ..] => 2,
            [] => 0,
            _ => 1,
        };
        let (end, rest) = rest.split_at(end);
        lines.push((line, end));
        bytes = rest;
    }
    lines
}

/// The lines that matter: of several empty ones only the first, since only that ends an event.
fn kept<'a>(lines: &[Line<'a>], with_comments: bool) -> Vec<Line<'a>> {
    let mut kept: Vec<Line<'_>> = Vec::new();
    for &line in lines {
        let is_doubled = line.0.is_empty() && kept.last().is_none_or(|last| last.0.is_empty());
        if !is_doubled && (with_comments || !is_comment(line.0)) {
            kept.push(line);
        }
    }
    kept
}

fn is_comment(line: &[u8]) -> bool {
    line.starts_with(b":")
}

/// A comment that no plan has: all of a plan's say so.
fn is_foreign_comment(line: &[u8]) -> bool {
    is_comment(line) && !line.ends_with(b" comment")
}

/// Whether what was got is the beginning of what was sent, or all of it; line ends aside.
fn is_prefix(got: &[Line<'_>], sent: &[Line<'_>], is_whole: bool) -> bool {
    let same = got.iter().zip(sent).all(|(got, sent)| got.0 == sent.0);
    same && got.len() <= sent.len() && (!is_whole || got.len() == sent.len())
}

/// Whether the line ends differ of lines that are the same.
fn line_ends(got: &[Line<'_>], sent: &[Line<'_>]) -> Option<Finding> {
    let changed = got.iter().zip(sent).filter(|(got, sent)| got.1 != sent.1);
    let changed = changed.count();
    (changed > 0).then(|| {
        let evidence = format!(
            "{} of {} line ends differ from what was sent",
            changed,
            got.len()
        );
        Finding::certain(Rule::LineEndsRewritten, evidence)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::judge::judge_one;
    use crate::doctor::testing::{found, ms, probe, probe_with};

    fn changed(change: impl Fn(String) -> String) -> Vec<Rule> {
        let seen = probe_with(Plan::short(), |_, at, bytes| {
            let text = String::from_utf8(bytes).unwrap();
            vec![(at + ms(20), change(text).into_bytes())]
        });
        found(&seen)
    }

    #[test]
    fn what_hops_do_to_bytes() {
        assert_eq!(changed(|text| text), []);
        assert_eq!(
            changed(|text| if text.starts_with(':') {
                String::new()
            } else {
                text
            }),
            [Rule::CommentsStripped]
        );
        assert_eq!(
            changed(|text| text.replace("\r\n", "\n").replace('\r', "\n")),
            [Rule::LineEndsRewritten]
        );
        assert_eq!(
            changed(|text| format!(": ping\n\n{text}")),
            [Rule::HeartbeatAdded]
        );
        assert_eq!(
            changed(|text| format!(": ping\n{text}")),
            [Rule::HeartbeatAdded]
        );
        assert_eq!(changed(|text| text.replace("é", "e")), [Rule::BytesChanged]);
        assert_eq!(
            changed(|text| text.replace("data: two\n", "")),
            [Rule::BytesChanged]
        );
        assert_eq!(
            changed(|text| text.replace("crlf\r\n\r\n", "crlf\r\n")),
            [Rule::BytesChanged]
        );
    }

    #[test]
    fn the_evidence_shows_the_line() {
        let seen = probe_with(Plan::short(), |_, at, bytes| {
            let text = String::from_utf8(bytes)
                .unwrap()
                .replace("data: two", "data: 2");
            vec![(at + ms(20), text.into_bytes())]
        });
        let evidence = &judge_one(&seen)[0].evidence;
        assert!(
            evidence.contains("`data: two` was sent, `data: 2` arrived"),
            "{evidence}"
        );
    }

    #[test]
    fn a_stream_that_was_cut_is_compared_as_far_as_it_goes() {
        let whole = probe(Plan::short());
        for length in [40, 5_000, whole.body.len() - 1] {
            let mut cut = whole.clone();
            cut.body.truncate(length);
            let mut left = length;
            for read in &mut cut.reads {
                read.length = read.length.min(left);
                left -= read.length;
            }
            cut.end(End::Cut, ms(20_000));
            let rules = found(&cut);
            assert!(!rules.contains(&Rule::BytesChanged), "{length}: {rules:?}");
        }
    }
}
