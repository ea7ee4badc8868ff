"""What a model that hears thinks of a clip."""
