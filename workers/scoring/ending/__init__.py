"""How a run ends otherwise than by publishing: it fails, is cancelled, or is undone."""
