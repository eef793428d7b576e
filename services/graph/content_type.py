"""The content type of an answer, as Go's HTTP server settles it.

The router returns no header of any service. It declares JSON where the body is JSON; otherwise Go looks at the
first bytes, by the WHATWG MIME sniffing standard.

Source: https://mimesniff.spec.whatwg.org, https://pkg.go.dev/net/http#DetectContentType.
"""

import re

from services.graph.gojson import is_json

JSON = "application/json"

_SNIFFED_BYTES = 512
_HTML = re.compile(
    rb"[\t\n\x0c\r ]*<(?:!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B|BODY|BR|P|!--)[ >]",
    re.IGNORECASE,
)
_SIGNATURES = (
    (re.compile(rb"[\t\n\x0c\r ]*<\?xml"), "text/xml; charset=utf-8"),
    (re.compile(rb"%PDF-"), "application/pdf"),
    (re.compile(rb"%!PS-Adobe-"), "application/postscript"),
    (re.compile(rb"\xfe\xff.."), "text/plain; charset=utf-16be"),
    (re.compile(rb"\xff\xfe.."), "text/plain; charset=utf-16le"),
    (re.compile(rb"\xef\xbb\xbf."), "text/plain; charset=utf-8"),
    (re.compile(rb"\x00\x00\x01\x00|\x00\x00\x02\x00"), "image/x-icon"),
    (re.compile(rb"BM"), "image/bmp"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBPVP", re.DOTALL), "image/webp"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"FORM....AIFF", re.DOTALL), "audio/aiff"),
    (re.compile(rb"ID3"), "audio/mpeg"),
    (re.compile(rb"OggS\x00"), "application/ogg"),
    (re.compile(rb"MThd\x00\x00\x00\x06"), "audio/midi"),
    (re.compile(rb"RIFF....AVI ", re.DOTALL), "video/avi"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), "audio/wave"),
    (re.compile(rb"....ftypmp4", re.DOTALL), "video/mp4"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "video/webm"),
    (re.compile(rb"\x1f\x8b\x08"), "application/x-gzip"),
    (re.compile(rb"PK\x03\x04"), "application/zip"),
)
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def content_type(body: bytes) -> str | None:
    """Name the content type of a body, or None for an empty one, which carries no type."""
    if not body:
        return None
    if is_json(body):
        return JSON
    head = body[:_SNIFFED_BYTES]
    if _HTML.match(head):
        return "text/html; charset=utf-8"
    for signature, name in _SIGNATURES:
        if signature.match(head):
            return name
    return "application/octet-stream" if _BINARY.search(head) else "text/plain; charset=utf-8"
