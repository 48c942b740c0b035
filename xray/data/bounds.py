"""What a PNG or JPEG file may hold, counted before a decoder opens it."""

MAX_PNG_CHUNKS = 20_000
"""Pillow handles each in Python; writers cut 20 MiB into some 2,500 of them."""
MAX_JPEG_SCANS = 50
"""A decoder goes over the whole picture for each; progressive writers make ten."""

_PNG_MARK, _JPEG_MARK = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_CHUNK_FRAME = 12  # bytes of length, kind and checksum


def check_bounds(content: bytes) -> None:
    """Refuse a file that would cost its decoder far more than its size lets expect.

    Raises:
        ValueError: a PNG of too many chunks, or a JPEG of too many scans.
    """
    if content.startswith(_PNG_MARK):
        if _has_many_chunks(content):
            raise ValueError(f"a PNG of more than {MAX_PNG_CHUNKS} chunks")
    # In a scan's own bytes this mark cannot occur: FF is followed by 00 there.
    elif content.startswith(_JPEG_MARK) and content.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise ValueError(f"a JPEG of more than {MAX_JPEG_SCANS} scans")


def _has_many_chunks(content: bytes) -> bool:
    place = len(_PNG_MARK)
    for _ in range(MAX_PNG_CHUNKS):
        if place >= len(content):
            return False
        place += _CHUNK_FRAME + int.from_bytes(content[place : place + 4], "big")
    return place < len(content)
