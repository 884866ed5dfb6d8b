"""Incoming HTTP: the REST API (`api`), its OpenAPI document and `/docs`, and the admin pages (`admin`).

`app` routes the API's requests to `serving`, which authenticates (`auth`), validates (`bodies`, `request_models`),
calls the operation in `api`, and responds with its Reply or Problem (an error response).
"""
