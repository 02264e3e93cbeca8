"""TIFF files: their directories, which of them is the picture, and its samples."""
