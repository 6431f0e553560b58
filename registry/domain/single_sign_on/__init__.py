"""Sign-in with the account of an identity provider (OpenID Connect)."""
