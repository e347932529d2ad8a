"""The seam to the queue: enqueue in the caller's transaction, work, recover what was killed."""
