"""Suffixes of the videos that the project reads and writes."""

# Suffix -> FFmpeg's container. AVI is not written: it holds no timestamps.
CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".nut": "nut",
}
READABLE = (
    *CONTAINERS,
    *(".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".m2ts", ".mts", ".3gp", ".ogv", ".ivf", ".y4m"),
    *(".264", ".h264", ".265", ".h265", ".hevc", ".mjpeg"),
)
