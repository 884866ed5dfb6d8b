r"""A simulated HubSpot, for the demo, for development, and for the tests of integrators.

It imports nothing of the bridge. `python -m bridge sandbox` serves it; in tests::

    with sandbox.running(SandboxOptions(pending_seconds=0)) as hubspot:
        requests.post(f"{hubspot.url}/files/v3/files/import-from-url/async", ...)
        hubspot.state.ledger()

It is served on loopback alone. Without options it takes the token `sandbox-token`, and for OAuth
the client `sandbox-client` with the secret `sandbox-secret` and refresh token `sandbox-refresh`.

The file name in the URL of an import chooses what becomes of it:

    errors.csv        ends completed, with errors
    fail.csv          ends COMPLETE, with errors and no result
    cancel.csv        ends CANCELED
    stuck.csv         never ends
    reject.csv        its task is unknown from the start: 404
    slow.csv          takes ten times as long
    fast.csv          is complete at once
    <fault>.csv       every status answer is this fault
    <fault>-x3.csv    the first 3 status answers are this fault, the others are right
    anything else     ends completed

Faults are given instead of the right answer:

    400 404                      the task is not known (JSON)
    401 401-expired              the token is not good
    403 403-scopes 403-ban       not allowed: to this caller, this app, this account
    404-html                     no such route
    400-html 403-html            a page of what stands in front of HubSpot
    400-empty 403-empty 404-empty  the same without a body
    429 429-secondly 429-daily   too many requests
    477                          the account is being moved; Retry-After: 60
    301 302 303 307 308          a redirect to where no route is
    423 500                      locked, broken (JSON)
    502 503 504                  a page of the edge
    html null empty not-json     200 with a body of that sort
    not-an-object no-status      200 with JSON of that sort
    unknown-status               200 with the status ARCHIVED
    cut-short                    200 with half of a JSON document, in a whole answer
    invalid-utf-8 nul-bytes      200 and COMPLETE, with such bytes: no valid JSON
    bom                          200 and COMPLETE, after a byte order mark that JSON need not have
    nul-escape                   200 and COMPLETE, with \u0000 in a string: valid JSON
    bad-header                   200 and COMPLETE, behind a line that is no header
    big gzip-bomb                10 MiB; 50 kB that unpack to 50 MiB
    hang                         no answer for 60 s, then a closed connection
    drip drip-headers            a byte, or a header, each half second
    short                        half of the promised bytes, then a closed connection
    drop                         a closed connection

The control routes take and give JSON, without a token:

    POST /sandbox/tasks          makes tasks: `kind`, `outcome` (completed, completed_with_errors,
                                 failed, canceled, reverted, stuck, rejected), `pending_seconds`,
                                 `processing_seconds`, `pending_status`, `count`;
                                 gives `id` (the first) and `ids`
    POST /sandbox/faults         sets a fault: `fault` and/or `status_code`, `headers`, `body`,
                                 `seconds`; for one `task_id`, `token` or `endpoint`, else for all
                                 but the OAuth server; for the next `times` answers, else until
                                 cleared; gives `id`
    DELETE /sandbox/faults       clears every fault; /sandbox/faults/<id> clears one
    POST /sandbox/quota/take     another app uses `requests` of the quota of `token`; gives
                                 `taken`, as many as the quota let through
    GET /sandbox/ledger          requests by endpoint, status code, account (with the most in any
                                 rolling window) and task (with instants); OAuth refreshes
    DELETE /sandbox/ledger       counts from zero
    GET, PATCH /sandbox/options  the fields of `SandboxOptions`
    POST /sandbox/reset          forgets everything, and takes the first options again

Endpoints are named by the kinds, `start-import`, `search-files`, `oauth-token` and, where none is, `no-route`. An
account is a static token, or `oauth:<refresh token>` as configured; either name stands for a token.

Guessed, because nobody has published it: the answer to an unknown id, to a crm-import id that is
no number, the wording of most messages, and that a refused request uses no quota.
"""

from bridge.sandbox.faults import Target
from bridge.sandbox.options import PendingBody, SandboxOptions
from bridge.sandbox.replies import Manner, Reply
from bridge.sandbox.server import Sandbox, create_app, running
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
]
