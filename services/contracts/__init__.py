"""Messages on the wire and the ModelCard. Strict pydantic; imports nothing of ours."""
