"""Benchmarks: the bridge against bounds, in one run on one machine, so that only the ratios matter.

__main__     which scenarios run, and what is written
scenarios/   what is measured, one module each: `run(bench) -> Findings`
harness      what they share: the loopback server, databases, worker processes
loopback     a process that plays HubSpot and the receivers, and keeps a ledger
bound        a process that makes the same requests with no bridge around them
simulation   the order of polls, in simulated time
report       results as JSON, as a page, and as a picture (chart)
rivals/      the same job done with other tools
"""
