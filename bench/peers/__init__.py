"""What Distill is measured against."""
