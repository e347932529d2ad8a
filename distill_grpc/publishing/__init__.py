"""The creator publishing platform: accounts, posts, comments and subscriptions (seed 001)."""
