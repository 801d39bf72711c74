"""Leaves of the networks: small modules that encoders, decoders and heads are built from."""
