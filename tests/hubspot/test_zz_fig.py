from tests.hubspot.test_quota import ledger  # noqa
import re
def test_fig(ledger):
    logs=[l.read_text() for l in ledger["logs"]]
    print("FIG", ledger["accounts"], ledger["status_codes"], ledger["app"].taken, ledger["app"].refused, [len(re.findall("account_paused",t)) for t in logs], [len(re.findall("lease_lost",t)) for t in logs])
