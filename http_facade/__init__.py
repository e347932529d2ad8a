"""The REST door of Distill: derives its routes and its JSON from the protos."""
