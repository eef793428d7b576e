"""Real clips to learn actions from: public layouts in, one manifest, open label spaces, checked, read by seconds."""
