"""Tests of faults: kills, outages, full disks, misbehaving callers, a clock set back."""
