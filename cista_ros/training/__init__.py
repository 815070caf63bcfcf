"""Training of the networks on simulated sequences."""
