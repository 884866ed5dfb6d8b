"""The worker: its loop, the threads that send requests, and the clock that runs the loop."""
