"""Thin adapters between Ignite engines and metrics, TensorBoard, checkpoints and result files."""
