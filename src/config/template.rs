//! Values with placeholders, such as `https://{host}{path}`.

use std::fmt::{self, Write};

use http::HeaderName;

use super::nearest::nearest;
use super::problem::Mistake;

/// A text with placeholders that each request fills in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// One part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Itself.
    Text(String),
    /// A value of the request.
    Value(Placeholder),
}

/// The value of a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placeholder {
    /// The client's address.
    ClientIp,
    /// `http` or `https`, as the client sees it.
    Scheme,
    /// The requested host, without a port.
    Host,
    /// The requested port.
    Port,
    /// The path as it was sent, without its query.
    Path,
    /// The query, without its `?`.
    Query,
    /// The request's ID.
    RequestId,
    /// A field of the request as it came.
    Header(HeaderName),
}

const NAMES: [(&str, Placeholder); 7] = [
    ("client_ip", Placeholder::ClientIp),
    ("scheme", Placeholder::Scheme),
    ("host", Placeholder::Host),
    ("port", Placeholder::Port),
    ("path", Placeholder::Path),
    ("query", Placeholder::Query),
    ("request_id", Placeholder::RequestId),
];

impl Template {
    /// Its parts in their order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The whole text, if it holds no placeholder.
    pub fn literal(&self) -> Option<&str> {
        match &*self.0 {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Reads `text`.
    pub(super) fn parse(text: &str) -> Result<Self, Mistake> {
        let part = |piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text)),
            Piece::Name(name) => placeholder(name).map(Part::Value),
        };
        let parts = pieces(text, "{host}")?.into_iter().map(part);
        parts.collect::<Result<_, _>>().map(Self)
    }
}

/// One piece of a text with placeholders.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    Text(String),
    /// The text between two braces.
    Name(&'a str),
}

/// The pieces of `text`, in which `{{` and `}}` are literal braces; `example` is a placeholder for the error's help.
pub(super) fn pieces<'a>(text: &'a str, example: &str) -> Result<Vec<Piece<'a>>, Mistake> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        literal.push_str(before);
        if let Some(doubled) = ["{{", "}}"].iter().find(|two| brace.starts_with(**two)) {
            literal.push_str(&doubled[..1]);
            rest = &brace[2..];
            continue;
        }
        let name = brace[1..]
            .split_once('}')
            .filter(|_| brace.starts_with('{'));
        let Some((name, after)) = name else {
            return Err(
                Mistake::new(format!("`{text}` has a brace of its own")).help(format!(
                    "write `{{{{` or `}}}}` for a brace, and `{example}` or the like for a value"
                )),
            );
        };
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Name(name));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(pieces)
}

fn placeholder(name: &str) -> Result<Placeholder, Mistake> {
    if let Some(header) = name.strip_prefix("header.") {
        return HeaderName::from_bytes(header.as_bytes())
            .map(Placeholder::Header)
            .map_err(|_| Mistake::new(format!("`{header}` is not the name of a header")));
    }
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known
        .map(|(_, placeholder)| placeholder.clone())
        .ok_or_else(|| {
            let meant = nearest(name, NAMES.map(|(known, _)| known));
            let help = if let Some(meant) = meant {
                format!("did you mean `{{{meant}}}`?")
            } else {
                let names = NAMES.map(|(known, _)| format!("`{{{known}}}`"));
                format!("known here: {}, `{{header.NAME}}`", names.join(", "))
            };
            Mistake::new(format!("unknown placeholder `{{{name}}}`")).help(help)
        })
}

/// As it is written in the file.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => {
                    f.write_str(&text.replace('{', "{{").replace('}', "}}"))?;
                }
                Part::Value(Placeholder::Header(name)) => write!(f, "{{header.{name}}}")?,
                Part::Value(value) => {
                    let name = NAMES.iter().find(|(_, known)| known == value);
                    f.write_char('{')?;
                    f.write_str(name.map_or("", |(name, _)| name))?;
                    f.write_char('}')?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_placeholders() {
        use Placeholder::{Header, Host, Path};
        let template = Template::parse("https://{host}:8443{path}{{x}}").unwrap();
        assert_eq!(
            template.parts(),
            [
                Part::Text("https://".to_owned()),
                Part::Value(Host),
                Part::Text(":8443".to_owned()),
                Part::Value(Path),
                Part::Text("{x}".to_owned()),
            ]
        );
        assert_eq!(template.to_string(), "https://{host}:8443{path}{{x}}");
        assert_eq!(template.literal(), None);
        let header = Template::parse("{header.X-Tenant}").unwrap();
        assert_eq!(
            header.parts(),
            [Part::Value(Header("x-tenant".parse().unwrap()))]
        );
        for text in ["", "plain", "100 %"] {
            assert_eq!(Template::parse(text).unwrap().literal(), Some(text));
        }
    }

    #[test]
    fn mistakes_name_what_was_meant() {
        for (text, says, help) in [
            ("{hots}", "unknown placeholder `{hots}`", "`{host}`"),
            ("{body}", "unknown", "`{header.NAME}`"),
            ("{header.a b}", "`a b`", ""),
            ("{host", "brace", "{{"),
            ("host}", "brace", "}}"),
            ("{", "brace", "{{"),
        ] {
            let mistake = Template::parse(text).unwrap_err();
            assert!(mistake.message.contains(says), "{mistake:?}");
            assert!(mistake.help.unwrap_or_default().contains(help), "{text}");
        }
    }
}
