//! The head of the response, and which bytes of the file follow it.

use std::fmt::Write;
use std::path::Path;
use std::time::SystemTime;

use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
    LAST_MODIFIED, LOCATION, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, response};
use httpdate::fmt_http_date;

use super::conditional::{Conditions, Validators, Verdict};
use super::open::Opened;
use super::range::{Extent, extent};
use super::request::decode;
use crate::body::FilePart;

/// The response with the file `opened`, as `conditions` ask for it `now`; the part of it is `None` where the head is all.
pub(super) fn respond(
    opened: Opened,
    conditions: &Conditions,
    now: SystemTime,
) -> (response::Parts, Option<FilePart>) {
    let Opened {
        file,
        length: whole,
        modified,
        path,
        coding,
        is_fallback,
    } = opened;
    let validators = Validators::new(modified, whole, coding, now);
    let extent = match conditions.verdict(&validators) {
        Verdict::Send(range) => Ok(range.map_or(Extent::Whole, |range| extent(range, whole))),
        Verdict::NotModified => Err(StatusCode::NOT_MODIFIED),
        Verdict::Failed => Err(StatusCode::PRECONDITION_FAILED),
    };
    let (status, part) = match extent {
        Ok(Extent::Whole) => (StatusCode::OK, Some((0, whole))),
        Ok(Extent::Part { first, length }) => (StatusCode::PARTIAL_CONTENT, Some((first, length))),
        Ok(Extent::Unsatisfiable) => (StatusCode::RANGE_NOT_SATISFIABLE, None),
        Err(status) => (status, None),
    };
    let mut head = head(status, now);
    let headers = &mut head.headers;
    let vary = if is_fallback {
        "Accept-Encoding, Accept, Sec-Fetch-Mode"
    } else {
        "Accept-Encoding"
    };
    headers.insert(VARY, HeaderValue::from_static(vary));
    if let Some(tag) = validators.tag {
        insert(headers, ETAG, &tag.to_string());
    }
    if let Some(modified) = validators.modified {
        insert(headers, LAST_MODIFIED, &fmt_http_date(modified));
    }
    match (status, part) {
        (StatusCode::NOT_MODIFIED, _) => {}
        (_, Some((first, length))) => {
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            headers.insert(CONTENT_TYPE, media_type(&path));
            if let Some(coding) = coding {
                headers.insert(CONTENT_ENCODING, coding.value());
            }
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            if status == StatusCode::PARTIAL_CONTENT {
                let last = first + length - 1;
                insert(
                    headers,
                    CONTENT_RANGE,
                    &format!("bytes {first}-{last}/{whole}"),
                );
            }
        }
        (_, None) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            if status == StatusCode::RANGE_NOT_SATISFIABLE {
                insert(headers, CONTENT_RANGE, &format!("bytes */{whole}"));
            }
        }
    }
    let part = part.map(|(first, length)| FilePart {
        file,
        first,
        length,
    });
    (head, part)
}

/// The response to a request for a folder without its trailing slash, from which relative links would lead elsewhere. The target is
/// relative, as a proxy in front may have removed a prefix.
pub(super) fn redirect(uri: &Uri, now: SystemTime) -> response::Parts {
    let mut head = head(StatusCode::MOVED_PERMANENTLY, now);
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    // The `./` is for names with a colon.
    let mut location = format!("./{}/", encode(&decode(name.as_bytes())));
    if let Some(query) = uri.query() {
        location.push('?');
        location.push_str(query);
    }
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    insert(&mut head.headers, LOCATION, &location);
    head
}

/// hyper adds a `Date` over HTTP/1 alone.
fn head(status: StatusCode, now: SystemTime) -> response::Parts {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = status;
    insert(&mut head.headers, DATE, &fmt_http_date(now));
    head
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    // Nothing that comes here has a control character.
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// By the file's name. Text is UTF-8: without a word, browsers take it for Windows-1252.
fn media_type(path: &Path) -> HeaderValue {
    let guess = mime_guess::from_path(path).first_raw();
    let media_type = guess.unwrap_or("application/octet-stream");
    if media_type.starts_with("text/") {
        let text = format!("{media_type}; charset=utf-8");
        return HeaderValue::from_str(&text)
            .unwrap_or_else(|_| HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    HeaderValue::from_static(media_type)
}

/// `name`, percent-encoded where it has to be in a path.
fn encode(name: &[u8]) -> String {
    let mut encoded = String::with_capacity(name.len());
    for &byte in name {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
