"""The feature that watches accounts, collects their items, and serves search and digests."""
