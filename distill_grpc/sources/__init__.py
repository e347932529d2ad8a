"""Platforms that Distill can read: one file each behind the seam in `base.py`."""
