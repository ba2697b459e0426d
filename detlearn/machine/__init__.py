"""What the rest stands on: hardware, processes, files that survive a crash, progress bars."""
