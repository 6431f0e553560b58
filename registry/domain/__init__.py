"""The rules of the registry, in plain Python over the models; independent of Flask."""
