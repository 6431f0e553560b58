"""How the registry is reached: by pip and twine, by scripts, by people. The only room that knows HTTP."""
