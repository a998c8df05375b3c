//! Where in the stream we are, and so what may be inserted: the only file that knows CR, LF and the BOM.

use memchr::memchr2;

/// U+FEFF in UTF-8. "If the first character is a BOM it is stripped": at offset 0 and nowhere else.
pub(super) static BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// What may be inserted at a position without a parser noticing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insertion {
    /// Nothing: it would become part of a line, or a line feed still to come would end the event early.
    Nothing,
    /// A comment line, but no blank line: a blank line would dispatch the unfinished event.
    Line,
    /// A comment with or without a blank line.
    Block,
}

/// The place after the last byte seen, and what the lines before it said.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about the lines seen, not states"
)]
pub struct Position {
    place: LineState,
    /// A field of the current event was seen; its blank line was not.
    inside_event: bool,
    /// The current event has a `data` field, so its blank line dispatches it.
    has_data: bool,
    /// The current event ends its protocol's stream.
    is_terminal: bool,
    line: LineHead,
    events: u64,
    id_seen: bool,
    last_event_terminal: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineState {
    /// The stream's start, after so many bytes of a BOM: 0, 1 or 2.
    Start(u8),
    /// The start of a line, after LF or CRLF (or a whole BOM).
    LineStart,
    /// The start of a line, after a CR whose LF may still come.
    AfterCr,
    /// Inside a line.
    Line,
}

impl Position {
    /// The position before the first byte.
    pub fn start() -> Self {
        Self {
            place: LineState::Start(0),
            inside_event: false,
            has_data: false,
            is_terminal: false,
            line: LineHead::EMPTY,
            events: 0,
            id_seen: false,
            last_event_terminal: false,
        }
    }

    /// What may be inserted here.
    pub fn insertion(&self) -> Insertion {
        match (self.place, self.inside_event) {
            (LineState::Start(0), _) | (LineState::LineStart | LineState::AfterCr, false) => {
                Insertion::Block
            }
            (LineState::LineStart, true) => Insertion::Line,
            (LineState::Start(_) | LineState::Line, _) | (LineState::AfterCr, true) => {
                Insertion::Nothing
            }
        }
    }

    /// Whether no event is half sent here.
    pub fn is_boundary(&self) -> bool {
        self.insertion() == Insertion::Block
    }

    /// Whether no byte was seen yet.
    pub fn is_start(&self) -> bool {
        self.place == LineState::Start(0)
    }

    /// Events that a client has dispatched: blank lines after at least one `data` field.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether an `id` field was seen anywhere in the stream.
    pub fn id_seen(&self) -> bool {
        self.id_seen
    }

    /// Whether the last event was one after which its protocol sends nothing more.
    pub fn last_event_terminal(&self) -> bool {
        self.last_event_terminal
    }

    /// Whether the last byte was a CR whose LF may still come.
    pub(super) fn is_after_cr(&self) -> bool {
        self.place == LineState::AfterCr
    }

    /// Moves over `bytes`.
    pub fn advance(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(length) = self.advance_to_event(rest) {
            rest = &rest[length..];
        }
    }

    /// Moves over `bytes` as far as the byte that dispatches the first event in them, and returns how many those are; over all of them
    /// if none does.
    pub(super) fn advance_to_event(&mut self, bytes: &[u8]) -> Option<usize> {
        let events = self.events;
        let mut rest = bytes;
        while let [first, after @ ..] = rest {
            rest = match (self.place, *first) {
                (LineState::LineStart, b'\n') => {
                    self.end_event();
                    after
                }
                (LineState::LineStart | LineState::AfterCr, b'\r' | b'\n')
                | (LineState::Start(_), _) => {
                    self.step(*first);
                    after
                }
                (LineState::LineStart | LineState::AfterCr, _) => {
                    self.begin_line(*first);
                    self.pass_line(rest)
                }
                (LineState::Line, _) => self.pass_rest_of_line(rest),
            };
            if self.events != events {
                return Some(bytes.len() - rest.len());
            }
        }
        None
    }

    /// Moves over the line that `bytes` begins with, and returns what comes after it.
    fn pass_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some((line, terminator, after)) = split_line(bytes) else {
            self.line.push(bytes);
            return &[];
        };
        self.note_field(line); // all of it is here: nothing is to be kept
        self.place = LineState::after(terminator);
        after
    }

    /// Like that, where a line continues that came in parts.
    fn pass_rest_of_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some((line, terminator, after)) = split_line(bytes) else {
            self.line.push(bytes);
            return &[];
        };
        self.line.push(line);
        self.step(terminator);
        after
    }

    /// Moves over one byte.
    pub fn step(&mut self, byte: u8) {
        match (self.place, byte) {
            (LineState::Start(seen), _) if byte == BOM[usize::from(seen)] => {
                self.place = match seen {
                    2 => LineState::LineStart,
                    seen => LineState::Start(seen + 1),
                };
            }
            (LineState::Start(seen @ 1..), _) => {
                // Not a BOM after all: what looked like one is the start of a line.
                self.line.push(&BOM[..usize::from(seen)]);
                self.inside_event = true;
                self.place = LineState::Line;
                self.step(byte);
            }
            (LineState::AfterCr, b'\n') => self.place = LineState::LineStart, // the second half of a CRLF
            (_, b'\r' | b'\n') => {
                self.end_line();
                self.place = LineState::after(byte);
            }
            (LineState::Line, _) => self.line.push(&[byte]),
            (LineState::Start(_) | LineState::LineStart | LineState::AfterCr, _) => {
                self.begin_line(byte);
                self.line.push(&[byte]);
            }
        }
    }

    /// A line begins with `first`, which is still to be pushed.
    fn begin_line(&mut self, first: u8) {
        self.inside_event |= first != b':';
        self.place = LineState::Line;
    }

    fn end_line(&mut self) {
        if self.place == LineState::Line {
            let line = std::mem::replace(&mut self.line, LineHead::EMPTY);
            return self.note_field(line.as_slice());
        }
        self.end_event();
    }

    fn end_event(&mut self) {
        if self.has_data {
            self.events += 1;
            self.last_event_terminal = self.is_terminal;
        }
        self.inside_event = false;
        self.has_data = false;
        self.is_terminal = false;
    }

    /// What the field that `line` is (or, if it is a long one, begins with) says.
    fn note_field(&mut self, line: &[u8]) {
        if let Some(value) = value_of(b"data", line) {
            self.has_data = true;
            self.is_terminal |= value == b"[DONE]";
        } else if let Some(value) = value_of(b"event", line) {
            self.is_terminal |= is_terminal_event(value);
        } else if value_of(b"id", line).is_some() {
            self.id_seen = true;
        }
    }
}

impl LineState {
    /// After a line that ended with `terminator`.
    fn after(terminator: u8) -> Self {
        if terminator == b'\r' {
            Self::AfterCr
        } else {
            Self::LineStart
        }
    }
}

/// The line that `bytes` begins with, its terminator, and what comes after it, if its end is here.
fn split_line(bytes: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let end = memchr2(b'\r', b'\n', bytes)?;
    let (line, after) = bytes.split_at_checked(end)?;
    let (&terminator, after) = after.split_first()?;
    Some((line, terminator, after))
}

/// The value of the field `line` if its name is `name`, without the one space that may precede it.
fn value_of<'a>(name: &[u8], line: &'a [u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

/// The events after which a protocol sends nothing more: Anthropic's Messages and OpenAI's Responses. (OpenAI's Chat
/// Completions ends with the data `[DONE]`.)
fn is_terminal_event(name: &[u8]) -> bool {
    matches!(
        name,
        b"message_stop" | b"response.completed" | b"response.failed" | b"response.incomplete"
    )
}

/// The first bytes of a line that came in parts: enough to know its field, and more than any value that is compared.
#[derive(Debug, Clone)]
struct LineHead {
    bytes: [u8; Self::KEPT],
    length: u8,
}

impl LineHead {
    /// Longer than the longest line that is compared whole, `event: response.incomplete`.
    const KEPT: usize = 32;
    const EMPTY: Self = Self {
        bytes: [0; Self::KEPT],
        length: 0,
    };

    fn push(&mut self, part: &[u8]) {
        for (slot, &byte) in self.bytes.iter_mut().skip(self.length.into()).zip(part) {
            *slot = byte;
            self.length += 1;
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length.into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(bytes: &[u8]) -> Position {
        let mut position = Position::start();
        position.advance(bytes);
        position
    }

    #[test]
    fn insertions_by_position() {
        use Insertion::{Block, Line, Nothing};
        for (bytes, expected) in [
            (&b""[..], Block),
            (b"\xEF", Nothing),
            (b"\xEF\xBB", Nothing),
            (b"\xEF\xBB\xBF", Block),
            (b"\xEF\n", Line),
            (b"d", Nothing),
            (b"data: x", Nothing),
            (b"data: x\n", Line),
            (b"data: x\r", Nothing),
            (b"data: x\r\n", Line),
            (b"data: x\n\n", Block),
            (b"data: x\r\r", Block),
            (b"data: x\r\n\r", Block),
            (b"data: x\r\n\r\n", Block),
            (b"data: x\n\r", Block),
            (b"id: 1\n", Line),
            (b"unknown\n", Line),
            (b":", Nothing),
            (b": comment", Nothing),
            (b": comment\n", Block),
            (b": comment\r", Block),
            (b"data: x\n: comment\n", Line),
            (b"data: x\n: comment\r", Nothing),
            (b"\n", Block),
            (b"\r", Block),
            (b"\r\n\r\n", Block),
        ] {
            assert_eq!(
                after(bytes).insertion(),
                expected,
                "after {:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn only_blank_lines_after_data_count_as_events() {
        for (bytes, expected) in [
            (&b"data: x\n\n"[..], 1),
            (b"data\n\n", 1),
            (b"data:\r\r", 1),
            (b"data: x\r\n\r\n", 1),
            (b"data: x\r\n", 0),
            (b"event: x\n\n", 0),
            (b"datum: x\n\n", 0),
            (b": data\n\n", 0),
            (b"data: a\ndata: b\n\n\n\n", 1),
            (b"\xEF\xBB\xBFdata: x\n\ndata: y\n\n", 2),
        ] {
            assert_eq!(
                after(bytes).events(),
                expected,
                "in {:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn fields_that_matter_are_recognised_at_every_split() {
        let stream = b"id: 7\r\nevent: message_stop\r\ndata: {}\r\n\r\n";
        for split in 0..=stream.len() {
            let mut position = Position::start();
            position.advance(&stream[..split]);
            position.advance(&stream[split..]);
            assert!(
                position.id_seen() && position.last_event_terminal(),
                "split at {split}"
            );
        }
        assert!(!after(b"idx: 7\n\n").id_seen());
        assert!(after(b"id\n").id_seen());
    }

    #[test]
    fn terminal_is_what_the_last_event_was() {
        for (bytes, expected) in [
            (&b"data: [DONE]\n\n"[..], true),
            (b"data:[DONE]\n\n", true),
            (b"data: [DONE]\n", false),
            (b"data: [DONE] \n\n", false),
            (b"data: [DONE]\n\ndata: x\n\n", false),
            (b"event: response.incomplete\ndata: {}\n\n", true),
            (
                b"event: response.incomplete_and_longer_than_what_is_kept\ndata: {}\n\n",
                false,
            ),
            (b"event: message_start\ndata: {}\n\n", false),
        ] {
            assert_eq!(
                after(bytes).last_event_terminal(),
                expected,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }
}
