"""Makes models and answers for them. May import `services`; `services` never imports this."""
