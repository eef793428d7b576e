"""`tracks`: everyone followed through a clip, and the evidence every later step reads."""
