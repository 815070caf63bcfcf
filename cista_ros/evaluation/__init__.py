"""Reconstructions against the camera's own frames: protocols, metrics, tables, figures, one report."""
