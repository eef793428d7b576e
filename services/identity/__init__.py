"""Who each track is: a subject, unknown, or not said."""
