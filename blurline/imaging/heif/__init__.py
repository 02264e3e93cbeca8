"""HEIF files (ISO/IEC 23008-12): boxes, items, and pictures whose samples are coded by HEVC."""
