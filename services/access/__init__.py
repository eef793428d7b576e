"""Who may ask what, where clips may come from, and the record of every look-up."""
