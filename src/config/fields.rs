//! What a route changes in the fields of a head: `request_headers` and `response_headers`.

use http::HeaderName;
use http::header::HOST;

use super::file::Table;
use super::problem::Mistake;
use super::template::Template;

/// Changes of a head's fields, in the order in which they are made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Fields that are taken out.
    pub remove: Vec<HeaderName>,
    /// Fields that are set to this value; an empty value removes the field.
    pub set: Vec<(HeaderName, Template)>,
    /// Fields that are added beside others of the same name, unless their value is empty.
    pub add: Vec<(HeaderName, Template)>,
}

/// Whose fields they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Request,
    Response,
}

/// What the sidecar says of one connection or of a message's length (RFC 9110, section 7.6.1; RFC 9112, section 6).
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

impl HeaderEdits {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Reads the table `key`, which replaces everything inherited.
    pub(super) fn read(&mut self, table: &mut Table<'_>, key: &'static str, message: Message) {
        let mut edits = Self::default();
        let is_there = table.has(key);
        table.table(key, |table| {
            table.list("remove", &mut edits.remove, |text| name(text, message));
            table.names("set", |text, value| {
                edits.set.push(field(text, value, message)?);
                Ok(())
            });
            table.names("add", |text, value| {
                edits.add.push(field(text, value, message)?);
                Ok(())
            });
        });
        if is_there {
            *self = edits;
        }
    }
}

fn field(text: &str, value: &str, message: Message) -> Result<(HeaderName, Template), Mistake> {
    let name = name(text, message)?;
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(Mistake::new("control characters cannot stand in a header").secret());
    }
    Ok((name, Template::parse(value)?))
}

fn name(text: &str, message: Message) -> Result<HeaderName, Mistake> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Mistake::new(format!("`{text}` is not the name of a header")))?;
    if FRAMING.contains(&name.as_str()) {
        return Err(Mistake::new(format!(
            "`{name}` belongs to one connection, whose fields the sidecar writes itself"
        ))
        .help("leave it out: requests, responses and upgrades are framed right without it"));
    }
    if name == HOST && message == Message::Request {
        return Err(Mistake::new("the Host field has a key of its own")
            .help("write `upstream.host = \"api.example.com\"`"));
    }
    Ok(name)
}
