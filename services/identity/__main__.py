"""Serves `identity` over HTTP: python -m services.identity --host HOST --port PORT."""

from services.assembly import load_identity
from services.endpoint import serve

if __name__ == "__main__":
    serve("identity", load_identity)
