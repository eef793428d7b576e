"""Who is enrolled: subjects and their templates, in one embedding space."""
