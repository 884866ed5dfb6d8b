"""HubSpot import bridge: follows HubSpot's asynchronous tasks and calls back when they end.

Who imports whom (checked by import-linter)::

    wiring > web | scheduler > worker > seats > register | poll | deliver > edges > core

The path of one watch::

    web    -> register -> watches.add                                              (201)
    worker -> poll     -> claims.claim -> hubspot.status -> polling.after_answer   -> claims.save
    worker -> deliver  -> claims.claim -> callbacks.post -> delivery.after_attempt -> claims.save

`core` decides: it is pure, and reads no clock. `edges` talk: one module per outside party.
`settings` is read by the entries and `wiring` alone. Data goes one way.
"""

__version__ = "1.0.0"
