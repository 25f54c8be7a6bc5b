"""What the service must outlive: kills, outages, full disks, rude callers, a clock set back."""
