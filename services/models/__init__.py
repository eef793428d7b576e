"""Networks by content: where their weights lie, proof of what they are, and engines that run them."""
