"""The same job done with other tools, as their users would write it.

A task is enqueued, polled once, and its callback is a job of its own, signed with the bridge's own
signing. Each tool is installed into a temporary folder, by name, when it is measured.
"""
