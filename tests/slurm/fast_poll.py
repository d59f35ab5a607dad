#!/usr/bin/env python3
"""Runs Snakemake with the slurm plugin's polling fixed at one second.

For tests only: the plugin adds 10 s to its polling interval after every look
that finds no success, and no option turns that off.  Same arguments as
snakemake; give --slurm-init-seconds-before-status-checks 1 with it.
"""

import sys

import snakemake_executor_plugin_slurm as plugin
from snakemake.cli import main

plugin.Executor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, value: None)
sys.exit(main())
