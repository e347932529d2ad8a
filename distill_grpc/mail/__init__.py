"""Mail on its way out: `base.py` is the seam, `smtp.py` sends, `logged.py` only says that it would."""
