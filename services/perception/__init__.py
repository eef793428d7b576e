"""Pixels to nouns, with numpy at the interface: decode, detect, track, align, cut windows, keep the evidence."""
