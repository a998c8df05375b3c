//! Cursors as clients send them back: in a field, in the query, in a path. What is read is written the same, what is taken out of a
//! target leaves all else as it was, and nothing of it panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sse_sidecar::proxy::without_cursors;
use sse_sidecar::resume::Cursor;
use sse_sidecar::sse::base36;

fuzz_target!(|data: &[u8]| {
    if let Some(cursor) = Cursor::parse(data) {
        let mut digits = [0; 13];
        let number = base36(cursor.sequence, &mut digits);
        let whole = [cursor.token.as_bytes(), b".", number].concat();
        assert!(data == whole || data == cursor.token.as_bytes());
        assert!(data.len() <= Cursor::LONGEST);
    }
    let rest = without_cursors(data);
    assert_eq!(
        without_cursors(&rest),
        rest,
        "nothing is left to be taken out"
    );
    let path = |target: &[u8]| {
        target
            .split(|byte| *byte == b'?')
            .next()
            .map(<[u8]>::to_vec)
    };
    assert_eq!(path(&rest), path(data));
    assert!(rest.len() <= data.len());
    let query = |target: &[u8]| -> Vec<Vec<u8>> {
        let mark = target.iter().position(|byte| *byte == b'?');
        let query = mark.map_or(&b""[..], |mark| &target[mark + 1..]);
        query
            .split(|byte| *byte == b'&')
            .map(<[u8]>::to_vec)
            .collect()
    };
    // What stays, stays in its order.
    let before = query(data);
    let mut before = before.iter();
    for pair in query(&rest).iter().filter(|pair| !pair.is_empty()) {
        assert!(before.any(|known| known == pair));
    }
});
