"""Serves `tracks` over HTTP: python -m services.tracks --host HOST --port PORT."""

from services.assembly import load_tracks
from services.endpoint import serve

if __name__ == "__main__":
    serve("tracks", load_tracks)
