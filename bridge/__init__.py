"""HubSpot import bridge: follows HubSpot's asynchronous tasks and calls back when they end.

Who imports whom (checked by import-linter)::

    wiring > web | scheduler > register | poll | deliver > edges > core

The path of one watch::

    web -> register -> store.add                                        (201)
    scheduler -> poll    -> store.claim -> hubspot.ask    -> polling.after_answer   -> store.save
    scheduler -> deliver -> store.claim -> callbacks.post -> delivery.after_attempt -> store.save

`core` decides: it is pure, and reads no clock. `edges` talk: one module per outside party.
`settings` is read by the entries and `wiring` alone. Data goes one way.
"""

__version__ = "1.0.0"
