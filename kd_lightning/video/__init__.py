"""Video: files (reader, pipeline, writer) and what a frame is. Needs the extra `video` (PyAV)."""
