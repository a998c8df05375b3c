//! The status page.

use std::sync::LazyLock;

use http::StatusCode;

use super::{Answer, text};
use crate::page::Page;

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("table.js"),
    include_str!("page.js")
);

/// The page, assembled when it is first asked for.
static PAGE: LazyLock<Page> = LazyLock::new(|| Page::new(HTML, STYLE, SCRIPT, "'self'"));

pub(super) fn page() -> Answer {
    let mut response = text(
        StatusCode::OK,
        "text/html; charset=utf-8",
        PAGE.html.clone(),
    );
    PAGE.protect(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html() -> &'static str {
        std::str::from_utf8(&PAGE.html).unwrap()
    }

    #[test]
    fn there_is_one_script_and_one_style() {
        for element in ["script", "style"] {
            assert_eq!(html().matches(&format!("<{element}")).count(), 1);
        }
    }

    #[test]
    fn nothing_is_from_elsewhere_or_made_code() {
        for word in [
            "http://",
            "https://",
            "src=",
            "url(",
            "style=",
            "onclick",
            "innerHTML",
            "insertAdjacent",
            "document.write",
            "eval",
        ] {
            assert!(!html().contains(word), "{word}");
        }
    }
}
