"""HubSpot: its API, and the access tokens of its accounts."""
