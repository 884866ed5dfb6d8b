"""The worker: its loop, the threads that send requests, and the scheduler that runs the loop."""
