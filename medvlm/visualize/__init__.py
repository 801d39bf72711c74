"""Figures, image panels and the HTML report: they read results and arrays, and compute no score of their own."""
