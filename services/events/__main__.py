"""Serves `events` over HTTP: python -m services.events --host HOST --port PORT."""

from services.assembly import load_events
from services.endpoint import serve

if __name__ == "__main__":
    serve("events", load_events)
