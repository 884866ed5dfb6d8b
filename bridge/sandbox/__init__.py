r"""A simulated HubSpot, for the demo, for development, and for the tests of integrators.

It imports nothing of the bridge. `python -m bridge sandbox` serves it; in tests::

    with sandbox.running(SandboxOptions(pending_seconds=0)) as hubspot:
        requests.post(f"{hubspot.url}/files/v3/files/import-from-url/async", ...)
        hubspot.state.ledger()

It is served on loopback alone. Without options it takes the token `sandbox-token`, and for OAuth
the client `sandbox-client` with the secret `sandbox-secret` and refresh token `sandbox-refresh`.

The file name in the URL of an import chooses what becomes of it:

================== =======================================================================
any other name     ends completed
``errors.csv``     ends completed, with errors
``fail.csv``       ends COMPLETE, with errors and no result
``cancel.csv``     ends CANCELED
``stuck.csv``      never ends
``reject.csv``     its task is unknown from the start: 404
``slow.csv``       takes ten times as long
``fast.csv``       is complete at once
``<fault>.csv``    every status answer is this fault (below)
``<fault>-x3.csv`` the first 3 status answers are this fault, the others are right
================== =======================================================================

Faults, each answered instead of the right answer:

================================== =======================================================
``400`` ``404``                    the task is not known (JSON)
``401`` ``401-expired``            the token is not good
``403`` ``403-scopes`` ``403-ban`` not allowed: this task, this app, this account
``404-html``                       no such route
``429`` ``429-secondly`` ``429-daily`` too many requests
``477``                            the account is being moved; Retry-After: 60
``301`` ``302`` ``303`` ``307`` ``308`` a redirect to where no route is
``423`` ``500``                    locked, broken (JSON)
``502`` ``503`` ``504``            a page of the edge
``html`` ``null`` ``empty`` ``not-json`` ``not-an-object`` ``no-status`` ``unknown-status``
                                   200 with a body of that sort
``cut-short``                      half of a JSON document, sent whole
``invalid-utf-8`` ``nul-bytes``    a completed body with such bytes: no valid JSON
``nul-escape``                     a completed body with ``\u0000`` in a string: valid JSON
``big`` ``gzip-bomb``              10 MiB; 50 kB that unpack to 50 MiB
``hang``                           no answer for 60 s, then a closed connection
``drip`` ``drip-headers``          a byte, or a header, each half second
``short``                          half of the promised bytes, then a closed connection
``drop``                           a closed connection
================================== =======================================================

The control routes take and give JSON, without a token:

=============================== ==========================================================
``POST /sandbox/tasks``         `kind`, `outcome` (completed, completed_with_errors, failed,
                                canceled, reverted, stuck, rejected), `pending_seconds`,
                                `processing_seconds`, `pending_status`, `count`: new tasks;
                                gives `id` (the first) and `ids`
``POST /sandbox/faults``        `fault`, and/or `status_code`, `headers`, `body`, `seconds`; at
                                most one of `task_id`, `token`, `endpoint`, else for all but
                                the OAuth server; for the next `times` answers or until
                                cleared; gives `id`
``DELETE /sandbox/faults``      clears all; with ``/<id>`` one
``POST /sandbox/quota/take``    another app uses `requests` of the quota of `token`; gives
                                `taken`, as many as the quota let through
``GET /sandbox/ledger``         requests by endpoint, status code, account (with the most in
                                any rolling window) and task (with instants); OAuth refreshes
``DELETE /sandbox/ledger``      counts from zero
``GET``, ``PATCH /sandbox/options`` the fields of `SandboxOptions`
``POST /sandbox/reset``         forgets everything
=============================== ==========================================================

Endpoints are named by the kinds, `start-import` and `oauth-token`. An account is a static token,
or `oauth:<refresh token>` as configured. Guessed, because HubSpot has not published it: the answer to an
unknown id, the wording of most messages, and that a refused request uses no quota.
"""

from bridge.sandbox.faults import Target
from bridge.sandbox.options import PendingBody, SandboxOptions
from bridge.sandbox.replies import Manner, Reply
from bridge.sandbox.server import Sandbox, create_app, running, serve
from bridge.sandbox.state import State
from bridge.sandbox.tasks import Kind, Outcome

__all__ = [
    "Kind",
    "Manner",
    "Outcome",
    "PendingBody",
    "Reply",
    "Sandbox",
    "SandboxOptions",
    "State",
    "Target",
    "create_app",
    "running",
    "serve",
]
