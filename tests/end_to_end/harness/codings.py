"""Content codings, written so that each piece can be read as soon as it is there."""

import zlib
from collections.abc import Iterator


def gzip(pieces: list[bytes]) -> Iterator[bytes]:
    coder = zlib.compressobj(wbits=31)
    for piece in pieces:
        yield coder.compress(piece) + coder.flush(zlib.Z_SYNC_FLUSH)
    yield coder.flush()


def deflate(pieces: list[bytes]) -> Iterator[bytes]:
    coder = zlib.compressobj()
    for piece in pieces:
        yield coder.compress(piece) + coder.flush(zlib.Z_SYNC_FLUSH)
    yield coder.flush()


def br(pieces: list[bytes]) -> Iterator[bytes]:
    """Brotli (RFC 7932) that compresses nothing: each piece is a meta-block as it is."""
    for number, piece in enumerate(pieces):
        # Not the last; four nibbles of length; uncompressed; then up to a byte's border.
        bits, length = 0, 0
        if number == 0:
            bits, length = 0, 1
        for value, width in ((0, 1), (0, 2), (len(piece) - 1, 16), (1, 1)):
            bits |= value << length
            length += width
        yield bits.to_bytes((length + 7) // 8, "little") + piece
    yield b"\x03"


def zstd(pieces: list[bytes]) -> Iterator[bytes]:
    """Zstandard (RFC 8878) that compresses nothing: each piece is a raw block."""
    head = b"\x28\xb5\x2f\xfd\x00\x58"
    for number, piece in enumerate(pieces):
        block = (len(piece) << 3).to_bytes(3, "little") + piece
        yield head + block if number == 0 else block
    yield (1).to_bytes(3, "little")


CODINGS = {"gzip": gzip, "deflate": deflate, "br": br, "zstd": zstd}
