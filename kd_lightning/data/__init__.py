"""Images to triplets: pairing, degradation, preparation, the decoded store, batches."""
