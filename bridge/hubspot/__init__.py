"""HubSpot's API, and the access tokens of HubSpot accounts."""
