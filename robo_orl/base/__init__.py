"""The lowest room: errors, files, locks, random numbers, versions, plug-ins. It imports nothing of ours."""
