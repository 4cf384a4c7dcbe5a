"""Many runs: Hydra's plugins that plan them, what they leave together, and going on with them."""
