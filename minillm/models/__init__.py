"""The models, one file a milestone."""
