"""Summarisers behind one seam: `base.py` says what they are given and what they give."""
