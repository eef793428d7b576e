"""What operators see of a service: figures, log lines and traces; never an embedding, a face or a name."""
