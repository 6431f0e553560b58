"""Users and their tokens: accounts, sign-in, access tokens, deploy tokens, CI jobs."""
