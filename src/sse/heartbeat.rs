//! The comment that keeps a silent stream alive: its bytes, and which form a client takes.

use super::position::Insertion;

/// The heartbeat of a route: its bytes in both forms. Shared by all streams of the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// `: text` and two line feeds; without the last byte it is the bare line.
    block: Box<[u8]>,
}

/// Which form of the heartbeat a stream's client takes. No form is safe for every client: after a comment *with* a blank line
/// some real parsers dispatch an empty event once an `id` was seen; after one *without*, clients that split on blank lines
/// lose the event that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameChoice {
    /// The bare line: the client has a real parser.
    Line,
    /// With a blank line: the client splits on blank lines.
    Block,
    /// With a blank line until an `id` field shows that the stream is meant for a real parser.
    BlockUntilId,
}

impl Heartbeat {
    /// A heartbeat with `text`, which has no line end in it.
    pub fn new(text: &str) -> Self {
        debug_assert!(
            !text.contains(['\r', '\n']),
            "a line end would end the comment"
        );
        Self {
            block: format!(": {text}\n\n").into_bytes().into(),
        }
    }

    /// The bytes to insert where `insertion` is allowed: the position's rule wins over the client's choice.
    pub(super) fn bytes(&self, choice: FrameChoice, id_seen: bool, insertion: Insertion) -> &[u8] {
        let line = &self.block[..self.block.len() - 1];
        match (insertion, choice) {
            (Insertion::Nothing, _) => &[],
            (Insertion::Line, _) | (Insertion::Block, FrameChoice::Line) => line,
            (Insertion::Block, FrameChoice::BlockUntilId) if id_seen => line,
            (Insertion::Block, FrameChoice::Block | FrameChoice::BlockUntilId) => &self.block,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_wins_over_the_choice() {
        let heartbeat = Heartbeat::new("hi");
        assert_eq!(
            heartbeat.bytes(FrameChoice::Block, false, Insertion::Block),
            b": hi\n\n"
        );
        assert_eq!(
            heartbeat.bytes(FrameChoice::Block, false, Insertion::Line),
            b": hi\n"
        );
        assert_eq!(
            heartbeat.bytes(FrameChoice::Block, true, Insertion::Block),
            b": hi\n\n"
        );
        assert_eq!(
            heartbeat.bytes(FrameChoice::Line, false, Insertion::Block),
            b": hi\n"
        );
        assert_eq!(
            heartbeat.bytes(FrameChoice::BlockUntilId, false, Insertion::Block),
            b": hi\n\n"
        );
        assert_eq!(
            heartbeat.bytes(FrameChoice::BlockUntilId, true, Insertion::Block),
            b": hi\n"
        );
        assert_eq!(
            heartbeat.bytes(FrameChoice::Line, true, Insertion::Nothing),
            b""
        );
    }
}
