"""Training a student: losses, metrics, the Lightning module, the run."""
