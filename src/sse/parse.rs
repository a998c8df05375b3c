//! The obvious parser of event streams, written from the HTML standard (section 9.2.6) and sharing no code with the proxy's
//! path: the oracle of the tests.

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

/// All events of a whole stream. "If the file ends in the middle of an event, before the final empty line, the incomplete
/// event is not dispatched."
pub fn parse(stream: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(stream);
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let mut lines: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\r', '\n']) {
        lines.push(&rest[..end]);
        let length = if rest[end..].starts_with("\r\n") {
            2
        } else {
            1
        };
        rest = &rest[end + length..];
    }

    let mut events = Vec::new();
    let (mut event, mut data, mut id) = (String::new(), String::new(), String::new());
    for line in lines {
        if line.is_empty() {
            if data.is_empty() {
                event.clear();
                continue;
            }
            data.pop(); // "If the data buffer's last character is a LF, remove it"
            let name = std::mem::take(&mut event);
            events.push(Event {
                event: if name.is_empty() {
                    "message".to_owned()
                } else {
                    name
                },
                data: std::mem::take(&mut data),
                id: id.clone(),
            });
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut event),
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut id),
            _ => {}
        }
    }
    events
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
}
