"""Wrong keys are counted for each address, in a sliding minute."""

from datetime import timedelta

from bridge.web import key_throttle
from bridge.web.key_throttle import MAX_FAILURES, FailureCounter
from tests.makers import NOW


def test_the_first_failures_are_free_and_then_an_address_must_wait_out_the_oldest() -> None:
    counted = FailureCounter()
    for second in range(MAX_FAILURES):
        assert counted.record_failure("a", NOW + timedelta(seconds=second)) == 0
    assert counted.record_failure("a", NOW + timedelta(seconds=40)) == 21
    assert counted.record_failure("b", NOW + timedelta(seconds=40)) == 0
    assert counted.record_failure("a", NOW + timedelta(seconds=60)) == 0
    assert counted.record_failure("a", NOW + timedelta(seconds=60)) == 2


def test_failures_during_the_wait_do_not_make_it_longer() -> None:
    counted = FailureCounter()
    for _ in range(MAX_FAILURES + 100):
        counted.record_failure("a", NOW)
    assert counted.record_failure("a", NOW + timedelta(seconds=61)) == 0


def test_however_many_addresses_fail_the_memory_is_bounded() -> None:
    counted = FailureCounter()
    for number in range(key_throttle.MAX_ADDRESSES + 50):
        counted.record_failure(f"address-{number}", NOW)
    assert len(counted._seen) == key_throttle.MAX_ADDRESSES
    assert "address-0" not in counted._seen


def test_the_addresses_of_one_ipv6_network_are_one_sender() -> None:
    counted = FailureCounter()
    for number in range(MAX_FAILURES):
        assert counted.record_failure(f"2001:db8:0:1::{number:x}", NOW) == 0
    assert counted.record_failure("2001:db8:0:1:ffff:ffff:ffff:ffff", NOW) > 0
    assert counted.record_failure("2001:db8:0:2::1", NOW) == 0


def test_an_ipv4_address_is_the_same_in_both_spellings_and_not_its_neighbour() -> None:
    counted = FailureCounter()
    for _ in range(MAX_FAILURES):
        counted.record_failure("203.0.113.7", NOW)
    assert counted.record_failure("::ffff:203.0.113.7", NOW) > 0
    assert counted.record_failure("::ffff:203.0.113.8", NOW) == 0
