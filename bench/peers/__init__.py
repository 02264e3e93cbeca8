"""What users would take instead of blurline, on the same photos, in the same run."""
