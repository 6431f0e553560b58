"""OpenID Connect: trusted publishers, which exchange the identity tokens of their CI system for tokens to publish."""
