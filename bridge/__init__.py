"""HubSpot import bridge: polls HubSpot's asynchronous tasks, and sends a signed callback when one ends.

Python imports go one way only (import-linter checks it)::

    commands > startup > wiring > web | worker > steps > hubspot > http | db > core

A part may import the parts further to the right. Two parts joined by `|` may not import each other.

The path of one watch, in the order of time (an arrow means "then", not "imports")::

    web.api.registrations -> steps.register -> db.watches.add                               (201)
    worker.loop -> steps.poll    -> db.claims.claim -> hubspot.client.status
                -> core.classification -> core.polling.after_answer   -> db.claims.save
    worker.loop -> steps.deliver -> db.claims.claim -> http.callbacks.send -> core.signing
                -> core.delivery.after_attempt                        -> db.claims.save

ARCHITECTURE.md names each function on the path.
"""

__version__ = "1.0.0"
USER_AGENT = f"hubspot-import-bridge/{__version__}"  # in requests to HubSpot and to receivers
