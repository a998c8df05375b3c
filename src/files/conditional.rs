//! Requests that depend on what the client already has (RFC 9110, section 13).

use std::fmt::{self, Display};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{
    HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderValue, Method};
use httpdate::parse_http_date;

use super::coding::FileCoding;

/// A file that was changed less than this ago may change again without a later time: FAT counts in steps of two seconds, most others in
/// milliseconds at least.
const UNSETTLED: Duration = Duration::from_secs(2);

/// The conditions of a request.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    matches: Vec<HeaderValue>,
    none_match: Vec<HeaderValue>,
    modified_since: Option<SystemTime>,
    unmodified_since: Option<SystemTime>,
    range: Option<HeaderValue>,
    if_range: Option<HeaderValue>,
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// The file is sent, or the range that this field asks for.
    Send(Option<&'a HeaderValue>),
    /// The client has it: 304.
    NotModified,
    /// The client is mistaken about it: 412.
    Failed,
}

/// The validators that distinguish one state of a file from another.
#[derive(Debug)]
pub(super) struct Validators {
    pub(super) tag: Option<Tag>,
    /// In whole seconds, and never in the future.
    pub(super) modified: Option<SystemTime>,
}

/// An `ETag`.
///
/// It is strong where possible: only strong ones allow a broken download to resume (`If-Range`). It consists of the time of the
/// last change, in nanoseconds, and the length: a change within the clock's resolution would leave both as they are, so until that
/// has passed it is weak. Replicas of one image have only time and length in common; so neither the inode nor its change time is in
/// it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag {
    opaque: String,
    is_weak: bool,
}

impl Conditions {
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Self {
        let all = |name: HeaderName| headers.get_all(name).iter().cloned().collect();
        let date = |name: HeaderName| parse_http_date(one(headers, &name)?.to_str().ok()?).ok();
        Self {
            matches: all(IF_MATCH),
            none_match: all(IF_NONE_MATCH),
            modified_since: date(IF_MODIFIED_SINCE),
            unmodified_since: date(IF_UNMODIFIED_SINCE),
            // Of GET alone: RFC 9110, section 14.2.
            range: one(headers, &RANGE)
                .filter(|_| method == Method::GET)
                .cloned(),
            if_range: headers.get(IF_RANGE).cloned(),
        }
    }

    /// What they mean for a file with these validators, in the order of RFC 9110, section 13.2.2.
    pub(super) fn verdict(&self, validators: &Validators) -> Verdict<'_> {
        let is_later = |than: &Option<SystemTime>| Some(validators.modified? > (*than)?);
        if !self.matches.is_empty() {
            if !any(&self.matches, |tag| validators.is_strongly(tag)) {
                return Verdict::Failed;
            }
        } else if is_later(&self.unmodified_since) == Some(true) {
            return Verdict::Failed;
        }
        if !self.none_match.is_empty() {
            if any(&self.none_match, |tag| validators.is_weakly(tag)) {
                return Verdict::NotModified;
            }
        } else if is_later(&self.modified_since) == Some(false) {
            return Verdict::NotModified;
        }
        let range = self.range.as_ref();
        match &self.if_range {
            Some(condition) => Verdict::Send(range.filter(|_| validators.allow_range(condition))),
            None => Verdict::Send(range),
        }
    }
}

impl Validators {
    /// Of a file that was last changed at `modified`. Images whose build sets all times to the epoch say nothing with them.
    pub(super) fn new(
        modified: Option<SystemTime>,
        length: u64,
        coding: Option<FileCoding>,
        now: SystemTime,
    ) -> Self {
        let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let Some(since) = since.filter(|since| since.as_secs() > 1) else {
            return Self {
                tag: None,
                modified: None,
            };
        };
        let age = now.duration_since(UNIX_EPOCH + since).ok();
        let seconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            UNIX_EPOCH + Duration::from_secs(since.as_secs())
        };
        let suffix = coding.map(|coding| format!("-{}", coding.name()));
        let suffix = suffix.unwrap_or_default();
        Self {
            tag: Some(Tag {
                opaque: format!("{:x}-{length:x}{suffix}", since.as_nanos()),
                is_weak: age.is_none_or(|age| age < UNSETTLED),
            }),
            modified: Some(seconds((UNIX_EPOCH + since).min(now))),
        }
    }

    fn is_strongly(&self, other: &Given<'_>) -> bool {
        let is_strong = |tag: &Tag| !tag.is_weak && !other.is_weak;
        self.tag.as_ref().is_some_and(is_strong) && self.is_weakly(other)
    }

    fn is_weakly(&self, other: &Given<'_>) -> bool {
        self.tag
            .as_ref()
            .is_some_and(|tag| tag.opaque == other.opaque)
    }

    /// Whether the requested range belongs to what the client has.
    fn allow_range(&self, condition: &HeaderValue) -> bool {
        let Ok(text) = condition.to_str() else {
            return false;
        };
        match parse_http_date(text) {
            Ok(date) => {
                let is_settled = self.tag.as_ref().is_some_and(|tag| !tag.is_weak);
                is_settled && self.modified == Some(date)
            }
            Err(_) => Given::list(text).any(|tag| self.is_strongly(&tag)),
        }
    }
}

impl Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weak = if self.is_weak { "W/" } else { "" };
        write!(f, "{weak}\"{}\"", self.opaque)
    }
}

/// A tag that a client names.
#[derive(Debug, PartialEq, Eq)]
struct Given<'a> {
    opaque: &'a str,
    is_weak: bool,
}

impl<'a> Given<'a> {
    /// The tags of a list, up to the first that is none.
    fn list(mut text: &'a str) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            text = text.trim_start_matches([' ', '\t', ',']);
            let (is_weak, rest) = match text.strip_prefix("W/") {
                Some(rest) => (true, rest),
                None => (false, text),
            };
            let (opaque, rest) = rest.strip_prefix('"')?.split_once('"')?;
            text = rest;
            Some(Self { opaque, is_weak })
        })
    }
}

/// Whether the fields are `*`, which matches any existing file, or one of their tags `is_it`.
fn any(fields: &[HeaderValue], is_it: impl Fn(&Given<'_>) -> bool) -> bool {
    let mut fields = fields.iter().filter_map(|field| field.to_str().ok());
    fields.any(|text| text.trim() == "*" || Given::list(text).any(|tag| is_it(&tag)))
}

/// The field, if there is one and not several.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Failed, NotModified, Send};
    use super::*;

    const MODIFIED: Duration = Duration::from_nanos(784_111_777_500_000_000); // Sun, 06 Nov 1994 08:49:37.5 GMT

    /// Of a file of 16 bytes, `age` seconds after its last change.
    fn validators(age: u64) -> Validators {
        let modified = UNIX_EPOCH + MODIFIED;
        Validators::new(
            Some(modified),
            16,
            None,
            modified + Duration::from_secs(age),
        )
    }

    fn verdict(fields: &[(HeaderName, &'static str)], validators: &Validators) -> &'static str {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-1"));
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        match Conditions::of(&Method::GET, &headers).verdict(validators) {
            Send(Some(_)) => "part",
            Send(None) => "whole",
            NotModified => "not modified",
            Failed => "failed",
        }
    }

    #[test]
    fn a_tag_is_strong_once_the_file_has_settled() {
        assert_eq!(
            validators(2).tag.unwrap().to_string(),
            "\"ae1b981da166f00-10\""
        );
        assert_eq!(
            validators(1).tag.unwrap().to_string(),
            "W/\"ae1b981da166f00-10\""
        );
        let modified = UNIX_EPOCH + MODIFIED;
        let coded = Validators::new(Some(modified), 16, Some(FileCoding::Brotli), modified);
        assert_eq!(
            coded.tag.unwrap().to_string(),
            "W/\"ae1b981da166f00-10-br\""
        );
    }

    #[test]
    fn a_time_that_says_nothing_is_not_passed_on() {
        for modified in [
            None,
            Some(UNIX_EPOCH),
            Some(UNIX_EPOCH + Duration::from_millis(1500)),
        ] {
            let validators = Validators::new(modified, 16, None, UNIX_EPOCH + MODIFIED);
            assert!(validators.tag.is_none() && validators.modified.is_none());
        }
        let now = UNIX_EPOCH + MODIFIED;
        let early = Validators::new(Some(now + Duration::from_secs(9)), 16, None, now);
        assert!(early.tag.unwrap().is_weak);
        assert_eq!(
            early.modified,
            Some(UNIX_EPOCH + Duration::from_secs(784_111_777))
        );
    }

    #[test]
    fn conditions_are_judged_in_their_order() {
        let settled = validators(60);
        let tag = "\"ae1b981da166f00-10\"";
        let (before, same, after) = (
            "Sun, 06 Nov 1994 08:49:36 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:38 GMT",
        );
        for (fields, expected) in [
            (&[][..], "part"),
            (&[(IF_NONE_MATCH, tag)], "not modified"),
            (
                &[(IF_NONE_MATCH, "W/\"ae1b981da166f00-10\"")],
                "not modified",
            ),
            (
                &[(IF_NONE_MATCH, "\"a,b\" , \"ae1b981da166f00-10\"")],
                "not modified",
            ),
            (
                &[(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, tag)],
                "not modified",
            ),
            (&[(IF_NONE_MATCH, "*")], "not modified"),
            (&[(IF_NONE_MATCH, "\"x\"")], "part"),
            (&[(IF_NONE_MATCH, "nonsense")], "part"),
            (&[(IF_MODIFIED_SINCE, before)], "part"),
            (&[(IF_MODIFIED_SINCE, same)], "not modified"),
            (&[(IF_MODIFIED_SINCE, after)], "not modified"),
            (&[(IF_MODIFIED_SINCE, "yesterday")], "part"),
            (
                &[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, after)],
                "part",
            ),
            (&[(IF_MATCH, tag)], "part"),
            (&[(IF_MATCH, "*")], "part"),
            (&[(IF_MATCH, "\"x\"")], "failed"),
            (&[(IF_MATCH, "W/\"ae1b981da166f00-10\"")], "failed"),
            (&[(IF_MATCH, "\"x\""), (IF_NONE_MATCH, tag)], "failed"),
            (&[(IF_UNMODIFIED_SINCE, before)], "failed"),
            (&[(IF_UNMODIFIED_SINCE, same)], "part"),
            (&[(IF_MATCH, tag), (IF_UNMODIFIED_SINCE, before)], "part"),
            (&[(IF_RANGE, tag)], "part"),
            (&[(IF_RANGE, "\"x\"")], "whole"),
            (&[(IF_RANGE, "W/\"ae1b981da166f00-10\"")], "whole"),
            (&[(IF_RANGE, same)], "part"),
            (&[(IF_RANGE, after)], "whole"),
            (&[(IF_RANGE, "nonsense")], "whole"),
            (&[(RANGE, "bytes=2-3")], "whole"), // two of them
        ] {
            assert_eq!(verdict(fields, &settled), expected, "{fields:?}");
        }
    }

    #[test]
    fn a_file_that_may_still_change_is_sent_from_its_beginning() {
        let fresh = validators(1);
        let same = "Sun, 06 Nov 1994 08:49:37 GMT";
        let tag = "W/\"ae1b981da166f00-10\"";
        assert_eq!(verdict(&[(IF_RANGE, same)], &fresh), "whole");
        assert_eq!(verdict(&[(IF_RANGE, tag)], &fresh), "whole");
        assert_eq!(verdict(&[(IF_NONE_MATCH, tag)], &fresh), "not modified");
    }
}
