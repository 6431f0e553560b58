"""Users, sign-in, access tokens, deploy tokens, and CI jobs."""
