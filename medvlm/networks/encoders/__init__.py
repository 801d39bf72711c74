"""Encoders: from an input to feature maps; each publishes its channels and strides."""
