"""Moments: one number that says when an event began, whether or not anybody knows the date of its clip."""

from datetime import UTC, datetime, timedelta

from services.contracts.clip import ClipRef
from services.contracts.errors import BadInput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
_DAYS_BEFORE = (EARLIEST - _EPOCH).days
_DAY_US = 86_400_000_000
EARLIEST_US = _DAYS_BEFORE * _DAY_US
"""Below it lie only events of clips without a date."""


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970 UTC.

    Raises:
        BadInput: Before 1980, when no clip was recorded and clocks that were never set begin.
    """
    if moment < EARLIEST:
        raise BadInput(f"{moment.isoformat()} is before {EARLIEST.year}: check the camera's clock")
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The moment, in UTC."""
    return _EPOCH + microseconds * _MICROSECOND


def start_of(clip: ClipRef) -> int:
    """What `at_us` is at second 0 of a clip.

    A clip without a date is given a day of its own before 1980, by its digest: its events stay together and in order
    in every listing, in every database alike, and no question about a time can find them.

    Raises:
        BadInput: The clip's date cannot be right.
    """
    if clip.started_at is not None:
        return to_microseconds(clip.started_at)
    return int(clip.clip_id[:8], 16) % _DAYS_BEFORE * _DAY_US


def offset_of(seconds: float) -> int:
    """Seconds into a clip as microseconds."""
    return round(seconds * 1e6)
