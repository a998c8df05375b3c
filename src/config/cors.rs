//! Which pages of other origins may read a route's answers: cross-origin resource sharing, as the Fetch Standard has it.

use std::time::Duration;

use http::{HeaderName, Method};

use super::file::Table;
use super::problem::Mistake;
use super::value::{boolean, timeout};

/// The rules of one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// The origins whose pages may.
    pub origins: Vec<Origin>,
    /// The request fields that they may set, besides `Last-Event-ID`; none listed is whatever they ask for.
    pub headers: Vec<HeaderName>,
    /// The methods that they may use.
    pub methods: Vec<Method>,
    /// Response headers that they may read, besides those that are always readable.
    pub expose: Vec<HeaderName>,
    /// They may send cookies.
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight.
    pub max_age: Option<Duration>,
}

/// An origin, in the form in which browsers send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `*`
    Any,
    /// `https://app.example.com`
    Exact(String),
    /// `https://*.example.com`: the parts before and after the star.
    Below(String, String),
}

impl Origin {
    /// Whether the value of an `Origin` field is meant. Browsers send scheme and host in lower case.
    pub fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(own) => origin == own,
            Self::Below(scheme, suffix) => origin
                .strip_prefix(scheme.as_str())
                .and_then(|rest| rest.strip_suffix(suffix.as_str()))
                .is_some_and(|name| {
                    !name.is_empty()
                        && name
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
                }),
        }
    }
}

impl Cors {
    /// Reads the `cors` table, which replaces what was inherited.
    pub(super) fn read(inherited: &mut Option<Self>, table: &mut Table<'_>) {
        let mut is_complete = true;
        let mut cors = Self {
            origins: Vec::new(),
            headers: Vec::new(),
            methods: [
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ]
            .to_vec(),
            expose: Vec::new(),
            credentials: false,
            max_age: None,
        };
        if !table.has("cors") {
            return table.table("cors", |_| {});
        }
        table.table("cors", |table| {
            table.one_or_more("origins", &mut cors.origins, origin);
            table.one_or_more("headers", &mut cors.headers, header);
            table.one_or_more("methods", &mut cors.methods, method);
            table.one_or_more("expose", &mut cors.expose, header);
            table.set("credentials", &mut cors.credentials, boolean);
            table.set("max_age", &mut cors.max_age, timeout);
            if !table.has("origins") {
                let help = "write `origins = [\"https://app.example.com\"]`, or `[\"*\"]` for all";
                table.wrong(
                    "origins",
                    &Mistake::new("missing, so no page could read anything").help(help),
                );
                is_complete = false;
            }
            if cors.credentials && cors.origins.contains(&Origin::Any) {
                // Fetch Standard, section 3.3.5: with credentials `*` does not count.
                let mistake =
                    Mistake::new("cookies for every origin would let any page act for its visitor")
                        .help(
                            "list the origins, such as `origins = [\"https://app.example.com\"]`",
                        );
                table.wrong("credentials", &mistake);
            }
        });
        *inherited = is_complete.then_some(cors);
    }
}

fn origin(text: &str) -> Result<Origin, Mistake> {
    let mistake = || {
        Mistake::new(format!("`{text}` is not an origin"))
            .help("write scheme and host, such as `\"https://app.example.com\"`, `\"https://*.example.com\"`, or `\"*\"`")
    };
    if text == "*" {
        return Ok(Origin::Any);
    }
    if text == "null" {
        return Ok(Origin::Exact(text.to_owned()));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(mistake)?;
    let lower = text.to_ascii_lowercase();
    let bare = rest.strip_prefix("*.").unwrap_or(rest);
    let authority: http::uri::Authority = bare.parse().map_err(|_| mistake())?;
    if scheme.is_empty() || bare.contains(['*', '@']) || authority.host().is_empty() {
        return Err(mistake());
    }
    if rest.starts_with("*.") {
        let scheme = format!("{}://", scheme.to_ascii_lowercase());
        return Ok(Origin::Below(
            scheme,
            format!(".{}", bare.to_ascii_lowercase()),
        ));
    }
    Ok(Origin::Exact(lower))
}

fn header(text: &str) -> Result<HeaderName, Mistake> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Mistake::new(format!("`{text}` is not the name of a header"))
            .help("write such as `\"X-Tenant\"`")
    })
}

fn method(text: &str) -> Result<Method, Mistake> {
    let method = Method::from_bytes(text.as_bytes()).ok();
    method
        .filter(|_| text == text.to_ascii_uppercase())
        .ok_or_else(|| {
            Mistake::new(format!("`{text}` is not a method"))
                .help("write such as `\"POST\"`, in capitals")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let below = origin("https://*.Example.com").unwrap();
        for (seen, matches) in [
            ("https://a.example.com", true),
            ("https://a.b.example.com", true),
            ("https://example.com", false),
            ("http://a.example.com", false),
            ("https://evil.com/.example.com", false),
            ("https://evil.com:1.example.com", false),
            ("https://a.example.com.evil", false),
        ] {
            assert_eq!(below.matches(seen), matches, "{seen}");
        }
        assert!(
            origin("HTTPS://App.test:8443")
                .unwrap()
                .matches("https://app.test:8443")
        );
        assert!(origin("null").unwrap().matches("null"));
        assert!(origin("*").unwrap().matches("https://x"));
        for text in [
            "",
            "app.test",
            "https://",
            "https://a/b",
            "https://a.*.b",
            "https://u@a",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
