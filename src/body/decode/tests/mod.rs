mod faults;

use std::io::Write;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, Crc};
use proptest::prelude::*;
use zstd_safe::zstd_sys::ZSTD_EndDirective::{ZSTD_e_end, ZSTD_e_flush};
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

use super::*;

/// A `Content-Encoding` value, and the encoders it stands for in the order they are applied.
struct Coded {
    name: &'static str,
    layers: &'static [Encode],
}

/// Codes each piece with a flush behind it, and gives one piece more: the end of the coded data.
type Encode = fn(&[Vec<u8>]) -> Vec<Vec<u8>>;

/// Every way to code a body.
const CODED: [Coded; 7] = [
    coded("gzip", &[gzip]),
    coded("deflate", &[zlib]),
    coded("deflate", &[raw_deflate]),
    coded("br", &[brotli]),
    coded("zstd", &[zstd]),
    coded("gzip, br", &[gzip, brotli]),
    coded("zstd, deflate", &[zstd, zlib]),
];

const fn coded(name: &'static str, layers: &'static [Encode]) -> Coded {
    Coded { name, layers }
}

impl Coded {
    fn encode(&self, events: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let layers = self.layers.iter();
        let mut pieces = layers.fold(events.to_vec(), |pieces, encode| encode(&pieces));
        let end = pieces.split_off(events.len()).concat();
        pieces.push(end);
        pieces
    }

    fn decoder(&self) -> Decoder {
        decoder(self.name)
    }
}

fn gzip(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let encoder = GzEncoder::new(Vec::new(), Compression::default());
    write(
        pieces,
        encoder,
        |encoder| encoder.get_ref().len(),
        |encoder| encoder.finish().unwrap(),
    )
}

fn zlib(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    write(
        pieces,
        encoder,
        |encoder| encoder.get_ref().len(),
        |encoder| encoder.finish().unwrap(),
    )
}

fn raw_deflate(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    write(
        pieces,
        encoder,
        |encoder| encoder.get_ref().len(),
        |encoder| encoder.finish().unwrap(),
    )
}

fn brotli(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let encoder = ::brotli::CompressorWriter::new(Vec::new(), 4096, 4, 22);
    write(
        pieces,
        encoder,
        |encoder| encoder.get_ref().len(),
        ::brotli::CompressorWriter::into_inner,
    )
}

fn write<W: Write>(
    pieces: &[Vec<u8>],
    mut encoder: W,
    len: impl Fn(&W) -> usize,
    finish: impl FnOnce(W) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let mut ends = vec![0];
    for piece in pieces {
        encoder.write_all(piece).unwrap();
        encoder.flush().unwrap();
        ends.push(len(&encoder));
    }
    let coded = finish(encoder);
    ends.push(coded.len());
    let pieces = ends.windows(2).map(|ends| coded[ends[0]..ends[1]].to_vec());
    pieces.collect()
}

fn zstd(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    zstd_with(pieces, &[CParameter::ChecksumFlag(true)])
}

fn zstd_with(pieces: &[Vec<u8>], parameters: &[CParameter]) -> Vec<Vec<u8>> {
    let mut context = CCtx::create();
    for parameter in parameters {
        context.set_parameter(*parameter).unwrap();
    }
    let mut run = |piece: &[u8], directive| {
        let (mut coded, mut buffer) = (Vec::new(), [0; 4096]);
        let mut source = InBuffer::around(piece);
        loop {
            let mut target = OutBuffer::around(&mut buffer[..]);
            let left = context.compress_stream2(&mut target, &mut source, directive);
            coded.extend_from_slice(target.as_slice());
            if left.unwrap() == 0 {
                return coded;
            }
        }
    };
    let mut coded: Vec<_> = pieces
        .iter()
        .map(|piece| run(piece, ZSTD_e_flush))
        .collect();
    coded.push(run(&[], ZSTD_e_end));
    coded
}

/// `count` events, some empty comments, some of 30 KB and hard to compress.
fn events(count: u64) -> Vec<Vec<u8>> {
    let event = |id: u64| match id % 50 {
        7 => b":\n\n".to_vec(),
        8 => {
            let mut random = fastrand::Rng::with_seed(id);
            let data: String = (0..30_000).map(|_| random.alphanumeric()).collect();
            format!("data: {data}\n\n").into_bytes()
        }
        _ => format!("id: {id}\ndata: {{\"delta\":\"token {id}\"}}\n\n").into_bytes(),
    };
    (0..count).map(event).collect()
}

fn decoder(name: &str) -> Decoder {
    Decoder::for_codings([name]).unwrap().unwrap()
}

/// Decodes all that `chunk` gives, `room` bytes at a time.
fn feed(
    decoder: &mut Decoder,
    mut chunk: &[u8],
    room: usize,
    output: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut buffer = vec![0; room];
    loop {
        match decoder.decode(&mut chunk, &mut buffer)? {
            0 => break,
            written => output.extend_from_slice(&buffer[..written]),
        }
    }
    assert!(chunk.is_empty(), "zero, and bytes are left");
    Ok(())
}

/// What comes out of a whole body in these chunks, and how it ended.
fn decode<'a>(
    name: &str,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Result<(), DecodeError>) {
    let (mut decoder, mut output) = (decoder(name), Vec::new());
    for chunk in chunks {
        if let Err(error) = feed(&mut decoder, chunk, 4096, &mut output) {
            assert_eq!(decoder.decode(&mut &b"more"[..], &mut [0; 8]), Err(error));
            assert!(decoder.finish().is_err());
            return (output, Err(error));
        }
    }
    let end = decoder.finish();
    (output, end)
}

fn assert_equal_at_every_split(name: &str, body: &[u8], content: &[u8]) {
    for split in 0..=body.len() {
        let (head, tail) = body.split_at(split);
        assert_eq!(
            decode(name, [head, tail]),
            (content.to_vec(), Ok(())),
            "{name} at {split}"
        );
    }
}

/// Only right before a fault a longer chunk may give less, and so little that an inner layer sees another fault.
fn assert_chunking_changes_nothing(name: &str, body: &[u8]) {
    let (whole, end) = decode(name, [body]);
    let (bytewise, bytewise_end) = decode(name, body.chunks(1));
    if end.is_ok() {
        assert_eq!((&whole, end), (&bytewise, bytewise_end), "{name}");
    } else {
        assert!(bytewise_end.is_err(), "{name} {body:?}");
        assert!(bytewise.starts_with(&whole), "{name} {body:?}");
    }
}

#[test]
fn each_event_is_out_as_soon_as_its_flush_is_in() {
    let events = events(300);
    for coded in &CODED {
        let mut pieces = coded.encode(&events);
        let end = pieces.pop().unwrap();
        for (chunk, room) in [
            (usize::MAX, 16384),
            (usize::MAX, 1),
            (1, 16384),
            (1, 1),
            (7, 5),
        ] {
            let mut decoder = coded.decoder();
            for (number, (piece, event)) in pieces.iter().zip(&events).enumerate() {
                let mut output = Vec::new();
                for chunk in piece.chunks(chunk.min(piece.len())) {
                    feed(&mut decoder, chunk, room, &mut output).unwrap();
                }
                assert!(output == *event, "{} event {number}", coded.name);
                let error = decoder.finish().unwrap_err();
                assert_eq!(error.fault, Fault::Truncated, "{}", coded.name);
            }
            let mut output = Vec::new();
            feed(&mut decoder, &end, room, &mut output).unwrap();
            assert_eq!((output.len(), decoder.finish()), (0, Ok(())));
        }
    }
}

#[test]
fn a_body_in_one_chunk_gives_the_content() {
    let events = events(300);
    for coded in &CODED {
        let body = coded.encode(&events).concat();
        let (output, end) = decode(coded.name, [&body[..]]);
        assert!(output == events.concat(), "{}", coded.name);
        assert_eq!(end, Ok(()));
    }
}

#[test]
fn every_split_gives_the_content() {
    let events = events(8);
    for coded in &CODED {
        let body = coded.encode(&events).concat();
        assert_equal_at_every_split(coded.name, &body, &events.concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn chunks_and_room_of_any_size_give_the_content(
        events in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..40),
        chunks in prop::collection::vec(1..200_usize, 1..20),
        rooms in prop::collection::vec(1..2000_usize, 1..20),
    ) {
        for coded in &CODED {
            let body = coded.encode(&events).concat();
            let (mut decoder, mut output) = (coded.decoder(), Vec::new());
            let mut rest = &body[..];
            for (chunk, room) in chunks.iter().cycle().zip(rooms.iter().cycle()) {
                let (chunk, behind) = rest.split_at(rest.len().min(*chunk));
                feed(&mut decoder, chunk, *room, &mut output).unwrap();
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(&output, &events.concat());
            prop_assert_eq!(decoder.finish(), Ok(()));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(body in prop::collection::vec(any::<u8>(), 0..500)) {
        for coded in &CODED {
            assert_chunking_changes_nothing(coded.name, &body);
        }
    }
}

#[test]
fn a_gzip_header_with_every_field_is_skipped_at_every_split() {
    let content = b"data: x\n\n".to_vec();
    let plain = gzip(std::slice::from_ref(&content)).concat();
    for flags in 0..32_u8 {
        let mut header = plain[..10].to_vec();
        header[3] = flags;
        if flags & 4 != 0 {
            header.extend(b"\x05\0extra");
        }
        if flags & 8 != 0 {
            header.extend(b"name\0");
        }
        if flags & 16 != 0 {
            header.extend(b"comment\0");
        }
        if flags & 2 != 0 {
            let mut crc = Crc::new();
            crc.update(&header);
            header.extend(&crc.sum().to_le_bytes()[..2]);
        }
        header.extend(&plain[10..]);
        assert_equal_at_every_split("gzip", &header, &content);
    }
}

#[test]
fn gzip_members_and_zstd_frames_follow_each_other() {
    let events = events(4);
    let skippable_frame = b"\x50\x2a\x4d\x18\x03\0\0\0abc";
    for (name, encode, between) in [
        ("gzip", gzip as Encode, &b""[..]),
        ("zstd", zstd, b""),
        ("zstd", zstd, skippable_frame),
    ] {
        let first = encode(&events).concat();
        let body = [&first, between, &encode(&[]).concat(), &first].concat();
        assert_equal_at_every_split(name, &body, &events.concat().repeat(2));
        assert_eq!(decode(name, [&first[..]]), (events.concat(), Ok(())));
    }
}

#[test]
fn deflate_is_told_apart_from_zlib_at_every_level() {
    let content = events(20).concat();
    for level in 0..=9 {
        let level = Compression::new(level);
        let mut zlib = ZlibEncoder::new(Vec::new(), level);
        zlib.write_all(&content).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), level);
        raw.write_all(&content).unwrap();
        for body in [zlib.finish().unwrap(), raw.finish().unwrap()] {
            assert_eq!(decode("deflate", [&body[..]]), (content.clone(), Ok(())));
        }
    }
    // The smallest window zlib can name, 256 bytes, as some embedded encoders do.
    let body = b"\x08\x1d\x01\x02\0\xfd\xff:\n\0\x80\0\x45";
    assert_eq!(decode("deflate", [&body[..]]), (b":\n".to_vec(), Ok(())));
}

#[test]
fn codings_are_read_as_http_writes_them() {
    use Coding::{Brotli, Deflate, Gzip, Zstd};

    let codings = |values: &[&str]| {
        let decoder = Decoder::for_codings(values.iter().copied())?;
        let layers = decoder.into_iter().flat_map(|decoder| {
            let outer = decoder.outer.map(|outer| outer.layer.coding());
            [Some(decoder.inner.coding()), outer]
        });
        Ok(layers.flatten().collect::<Vec<_>>())
    };
    for (values, expected) in [
        (&[][..], Ok(vec![])),
        (&["identity"], Ok(vec![])),
        (&["Identity, none", " ,\t,"], Ok(vec![])),
        (&["gzip"], Ok(vec![Gzip])),
        (&["X-GZip"], Ok(vec![Gzip])),
        (&["\t Deflate "], Ok(vec![Deflate])),
        (&["BR"], Ok(vec![Brotli])),
        (&["zstd ,identity"], Ok(vec![Zstd])),
        (&["gzip,br"], Ok(vec![Gzip, Brotli])),
        (&["gzip", "br"], Ok(vec![Gzip, Brotli])),
        (&["gzip, br, zstd"], Err(Undecodable::TooManyLayers)),
        (&["compress"], Err(Undecodable::UnknownCoding)),
        (&["gzip", "dcb"], Err(Undecodable::UnknownCoding)),
        (&["gzip;q=1"], Err(Undecodable::UnknownCoding)),
    ] {
        assert_eq!(codings(values), expected, "{values:?}");
    }
}

#[test]
fn a_decoder_may_move_between_threads() {
    fn assert_send<T: Send + Sync>() {}
    assert_send::<Decoder>();
}
