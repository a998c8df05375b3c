//! The obvious parser of event streams, written from the HTML standard (section 9.2.6) and sharing no code with the proxy's
//! path: the oracle of the tests, and what the doctor reads streams with.

/// An event as a client's script sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event's type: `message` if the stream named none.
    pub event: String,
    /// The `data` lines, joined with line feeds.
    pub data: String,
    /// The last event ID at the time of this event.
    pub id: String,
}

/// The parts of a stream, for code that inspects its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its kind.
    pub kind: Kind,
    /// How many bytes of the stream there are up to its end: with the last of them it is complete.
    pub end: usize,
}

/// An event, or a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An event, complete with its empty line.
    Event(Event),
    /// The text of a comment line, which no script hears.
    Comment(String),
}

/// All events of a whole stream. "If the file ends in the middle of an event, before the final empty line, the incomplete
/// event is not dispatched."
pub fn parse(stream: &[u8]) -> Vec<Event> {
    let events = items(stream)
        .into_iter()
        .filter_map(|item| match item.kind {
            Kind::Event(event) => Some(event),
            Kind::Comment(_) => None,
        });
    events.collect()
}

/// All events and comments of a stream, each with the place where it is complete.
pub fn items(stream: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    let (mut event, mut data, mut id) = (String::new(), String::new(), String::new());
    for (line, end) in lines(stream) {
        if line.is_empty() {
            if data.is_empty() {
                event.clear();
                continue;
            }
            data.pop(); // "If the data buffer's last character is a LF, remove it"
            let name = std::mem::take(&mut event);
            let kind = Kind::Event(Event {
                event: if name.is_empty() {
                    "message".to_owned()
                } else {
                    name
                },
                data: std::mem::take(&mut data),
                id: id.clone(),
            });
            items.push(Item { kind, end });
            continue;
        }
        let line = String::from_utf8_lossy(line);
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "" => items.push(Item {
                kind: Kind::Comment(value.to_owned()),
                end,
            }),
            "event" => value.clone_into(&mut event),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            _ => {}
        }
    }
    items
}

/// The lines without their ends, each with the place behind its end. No character of UTF-8 has a CR or LF in it.
fn lines(stream: &[u8]) -> Vec<(&[u8], usize)> {
    let mut lines = Vec::new();
    let mut start = if stream.starts_with("\u{FEFF}".as_bytes()) {
        "\u{FEFF}".len()
    } else {
        0
    };
    while let Some(length) = stream[start..]
        .iter()
        .position(|byte| matches!(byte, b'\r' | b'\n'))
    {
        let line = &stream[start..start + length];
        start += length;
        start += if stream[start..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        lines.push((line, start));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_own_examples() {
        let stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
        let events = parse(stream);
        let seen: Vec<_> = events
            .iter()
            .map(|e| (e.data.as_str(), e.id.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("first event", "1"),
                ("second event", ""),
                (" third event", "")
            ]
        );

        assert_eq!(parse(b"data\n\ndata\ndata\n\ndata:").len(), 2);
        assert_eq!(
            parse(b"data: YHOO\ndata: +2\ndata: 10\n\n")[0].data,
            "YHOO\n+2\n10"
        );
        assert_eq!(parse(b"event: add\rdata: 7\r\r")[0].event, "add");
    }

    #[test]
    fn each_item_says_where_it_is_complete() {
        let stream = b"\xEF\xBB\xBF: a\n\ndata: 1\r\n\r\n:b\rdata: \xC3\n\n";
        let items = items(stream);
        let ends: Vec<_> = items.iter().map(|item| item.end).collect();
        assert_eq!(ends, [7, 19, 22, 31]);
        assert_eq!(items[0].kind, Kind::Comment("a".to_owned()));
        assert_eq!(items[2].kind, Kind::Comment("b".to_owned()));
        assert_eq!(parse(stream)[1].data, "\u{FFFD}");
    }
}
