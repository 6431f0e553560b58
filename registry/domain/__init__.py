"""What the registry does: its rules in plain Python over the models. No Flask in this room."""
