"""File kinds that the project reads, in training and in kd-enhance, and that it writes."""

WRITABLE = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
READABLE = (*WRITABLE, ".gif", ".ppm", ".pgm", ".pbm", ".pnm")
