"""Serves `identity` over HTTP: python -m services.identity --host HOST --port PORT."""

from services.assembly import load_identity
from services.endpoint import serve

if __name__ == "__main__":
    # Requests that come at once share the network's runs (services.models.batched).
    serve("identity", load_identity, workers=4)
