"""Batch preparation, inferers, strict workflows, curricula and prediction around MONAI's stock engines."""
