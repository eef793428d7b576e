"""Every analysis ever made here, and its events, to be asked about later."""
