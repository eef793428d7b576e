"""What networks learn from: manifests, windows cut by the services, splits without a shared person."""
