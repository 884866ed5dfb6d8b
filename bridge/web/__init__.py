"""Incoming HTTP: the REST API (`api`), its OpenAPI document and `/docs`, and the admin pages (`admin`).

`serving` makes the API's views: they authenticate (`auth`), validate (`strict_json`, `request_models`), call the
operation in `api`, and send its Reply or Problem (an error response).
"""
