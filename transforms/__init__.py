"""One case in, one case out: nothing to learn, no batch."""
