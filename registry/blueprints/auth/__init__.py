"""Token authentication: who asks, and whether they may."""
