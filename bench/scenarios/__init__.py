"""What is measured: one module each, with `run(bench) -> ScenarioResult`."""
