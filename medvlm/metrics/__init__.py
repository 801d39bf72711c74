"""Scores of segmentation and classification, with their policies and intervals stated; numpy only, no networks."""
