use super::*;

/// The body in `input` fed in pieces cut at `cuts`, and what follows it.
fn decode(input: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, bool, usize), BadChunk> {
    decode_with(Chunked::new(), input, cuts)
}

fn decode_with(
    mut chunked: Chunked,
    input: &[u8],
    cuts: &[usize],
) -> Result<(Vec<u8>, bool, usize), BadChunk> {
    let (mut body, mut from, mut rest) = (Vec::new(), 0, 0);
    for &to in cuts.iter().chain([&input.len()]) {
        let mut piece = input[from..to].to_vec();
        let (kept, read) = chunked.decode_in_place(&mut piece, |_| {})?;
        body.extend_from_slice(&piece[..kept]);
        if let Some(error) = chunked.failure() {
            return Err(error);
        }
        rest += piece.len() - read;
        from = to;
    }
    Ok((body, chunked.is_done(), rest))
}

#[test]
fn bodies_at_every_split() {
    for (input, body, done, rest) in [
        (&b"5\r\nhello\r\n0\r\n\r\n"[..], &b"hello"[..], true, 0),
        (
            b"1;ext=1\r\na\r\n00A \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET",
            b"a0123456789",
            true,
            3,
        ),
        (b"3\r\nabc\r\n", b"abc", false, 0),
        (
            b"1\r\na\r\nA\r\n0123456789\r\n2\r\nbc\r\n",
            b"a0123456789bc",
            false,
            0,
        ),
        (b"5\r\nhe", b"he", false, 0),
        (b"0\r\n\r\n", b"", true, 0),
        (
            b"0000000000000000000000001\r\na\r\n000\r\n\r\n",
            b"a",
            true,
            0,
        ),
        (b"FFFFFFFFFFFFFFFF\r\na", b"a", false, 0),
    ] {
        for split in 0..=input.len() {
            let seen = decode(input, &[split]);
            assert_eq!(seen, Ok((body.to_vec(), done, rest)), "split at {split}");
        }
        let every: Vec<usize> = (0..input.len()).collect();
        assert_eq!(decode(input, &every), Ok((body.to_vec(), done, rest)));
    }
}

#[test]
fn lines_of_responses_may_end_in_lf() {
    let input = b"2\nab\n3;x=y\r\ncde\n1 \nf\r\n00\nA: b\nC: d\r\n\nGET";
    for split in 0..=input.len() {
        let seen = decode_with(Chunked::lenient(), input, &[split]);
        assert_eq!(seen, Ok((b"abcdef".to_vec(), true, 3)), "split at {split}");
    }
    for bad in [
        &b"2\r\r\nab"[..],
        b"2\r\nabc",
        b"\n",
        b"1\na\r\r",
        b"0\n\rx",
    ] {
        assert!(decode_with(Chunked::lenient(), bad, &[]).is_err());
    }
}

#[test]
fn what_comes_before_a_failure_is_the_same_at_every_split() {
    for (input, body, error) in [
        (&b"3\r\nabc\r\nno size\r\n"[..], &b"abc"[..], BadChunk::Size),
        (b"1\r\na\r\n3\r\nbcde\r\n", b"abcd", BadChunk::LineEnd),
        (b"2\r\nab\r\n0\r\nA: b\rc", b"ab", BadChunk::LineEnd),
        (b"x", b"", BadChunk::Size),
    ] {
        for split in 0..=input.len() {
            let (mut chunked, mut seen) = (Chunked::lenient(), Vec::new());
            let mut failure = None;
            for part in [&input[..split], &input[split..]] {
                let mut part = part.to_vec();
                match chunked.decode_in_place(&mut part, |_| {}) {
                    Ok((kept, _)) => seen.extend_from_slice(&part[..kept]),
                    Err(error) => failure = Some(error),
                }
            }
            assert_eq!(seen, body, "split at {split}");
            assert_eq!(chunked.failure(), Some(error), "split at {split}");
            assert!(failure.is_none_or(|failure| failure == error));
        }
    }
}

#[test]
fn trailers_are_told_from_framing_at_every_split() {
    let input = b"1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\nGET";
    for split in 0..=input.len() {
        let (mut chunked, mut trailers) = (Chunked::new(), Vec::new());
        for mut part in [&input[..split], &input[split..]] {
            while !part.is_empty() {
                let taken = match chunked.next(part).unwrap() {
                    Piece::Framing(length) | Piece::Data(length) => length,
                    Piece::Trailers(length) => {
                        trailers.extend_from_slice(&part[..length]);
                        length
                    }
                    Piece::End => break,
                };
                part = &part[taken..];
            }
        }
        assert_eq!(trailers, b"A: b\r\nC: d\r\n\r\n", "split at {split}");
    }
}

#[test]
fn chunked_is_named_once_and_alone() {
    let lines = |lines: &[&'static str]| is_only_chunked(lines.iter().map(|line| line.as_bytes()));
    assert!(lines(&[]) && lines(&["chunked"]) && lines(&[" Chunked "]));
    for no in [
        &["gzip, chunked"][..],
        &["chunked, chunked"],
        &["chunked", "chunked"],
        &["gzip", "chunked"],
        &[""],
    ] {
        assert!(!lines(no), "{no:?}");
    }
}

#[test]
fn what_is_not_chunked_is_refused() {
    for (input, error) in [
        (&b"\r\n"[..], BadChunk::Size),
        (b"x\r\n", BadChunk::Size),
        (b"-1\r\n", BadChunk::Size),
        (b" 1\r\n", BadChunk::Size),
        (b"0x1\r\n", BadChunk::Size),
        (b"11111111111111111\r\n", BadChunk::Size),
        (b"1\na", BadChunk::Size),
        (b"1;a\nb", BadChunk::LineEnd),
        (b"1\r\rab", BadChunk::LineEnd),
        (b"1\r\nab\r\n", BadChunk::LineEnd),
        (b"1\r\na\n", BadChunk::LineEnd),
        (b"0\r\n\n", BadChunk::LineEnd),
        (b"0\r\nA: b\n\r\n", BadChunk::LineEnd),
    ] {
        assert_eq!(
            decode(input, &[]),
            Err(error),
            "{:?}",
            input.escape_ascii().to_string()
        );
    }
    let long = [&b"1;"[..], &b"x".repeat(Chunked::LIMIT + 1)].concat();
    assert_eq!(decode(&long, &[]), Err(BadChunk::TooLong));
}
