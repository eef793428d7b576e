"""Networks as plain modules; what they read and answer is in each file's shape legend."""
