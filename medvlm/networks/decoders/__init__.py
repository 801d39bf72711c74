"""Decoders: from feature maps to dense outputs or text; each reads what the encoder publishes."""
