"""Serves `action` over HTTP: python -m services.action --host HOST --port PORT."""

from services.assembly import load_action
from services.endpoint import serve

if __name__ == "__main__":
    # Requests that come at once share the network's runs (services.models.batched).
    serve("action", load_action, workers=4)
