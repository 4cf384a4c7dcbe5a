"""What students are worth on the frames of a call: coded, decoded, restored (docs/protocol.md)."""
