"""Benchmarks: the bridge against bounds, in one run on one machine, so that only the ratios matter.

__main__     which scenarios run, and what is printed
scenarios/   what is measured, one module each: `run(bench) -> ScenarioResult`
peers/       the same job done with other tools
imports/     imports that take their time, with HubSpot's limit: the bridge and other tools
harness      what a scenario gets: the far side, databases, sizes
system       one bridge to be measured, with its worker processes; bulk fills its table
far_side     HubSpot and the receivers, as seen from here; loopback is their process, and keeps the ledger
bound        the same requests with no bridge around them; bare: a Flask endpoint with none; wrk: its client
simulation   the order of polls, in simulated time
report       what was found, as JSON and as a page; chart: as a picture
"""
