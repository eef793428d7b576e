"""ClipRef: which clip, by the digest of its bytes, and where to read it."""

from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, Field

from services.contracts.message import Message, Sha256


class ClipRef(Message):
    """Names one clip. Frames never travel in a message; services read them from `uri`."""

    clip_id: Sha256 = Field(description="sha256 of the file.")
    uri: str = Field(min_length=1, description="file://, s3://, gs://: any fsspec url.")
    started_at: AwareDatetime | None = Field(None, description="When second 0 was recorded.")
    camera_id: str | None = None

    def moment(self, seconds: float) -> datetime | None:
        """When `seconds` into the clip was, in UTC; None where nobody knows the clip's date."""
        return None if self.started_at is None else self.started_at.astimezone(UTC) + timedelta(seconds=seconds)


class ModelRef(Message):
    """Which exact weights spoke."""

    name: str
    version: str
    sha256: Sha256
