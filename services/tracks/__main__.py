"""Serves `tracks` over HTTP: python -m services.tracks --host HOST --port PORT."""

from services.assembly import load_tracks
from services.endpoint import serve

if __name__ == "__main__":
    # One clip's decoding and tracking beside another's detection: neither alone fills the processor.
    serve("tracks", load_tracks, workers=2)
