"""The job as it is: imports of many accounts that take their time, with HubSpot's limit, and a worker that is killed.

load         the imports: when they begin and end, of which account, and who is to be called back
server       HubSpot with its limits, and the receivers, in a process of their own; keeps the ledger
figures      what a ledger says: detection, requests, refusals, losses
tools        the bridge and the other tools: how each is installed, started, killed, and given its imports
scenario     runs them all, and writes the rows, the table and the picture
*_app        what a user of each tool would write
"""
