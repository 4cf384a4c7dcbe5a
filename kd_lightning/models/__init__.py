"""Networks and what applies them to images. Plain torch: no Lightning, no Hydra."""
