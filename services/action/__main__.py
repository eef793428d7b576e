"""Serves `action` over HTTP: python -m services.action --host HOST --port PORT."""

from services.assembly import load_action
from services.endpoint import serve

if __name__ == "__main__":
    serve("action", load_action)
