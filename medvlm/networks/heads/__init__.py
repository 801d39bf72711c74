"""Heads: from feature maps to one kind of answer."""
