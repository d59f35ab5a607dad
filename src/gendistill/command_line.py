"""What Snakemake was asked for, which a Snakefile is not told."""

import contextlib
import io
import sys
from argparse import Namespace


def asked_of_snakemake() -> Namespace:
    """The options of the command line with those of profiles and environment variables, by Snakemake's own parser.

    Where Snakemake is used as a library, all have their defaults.
    """
    from snakemake.cli import parse_args

    # It says which profiles it reads; Snakemake has said so already.
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            return parse_args(sys.argv[1:])[1]
        except SystemExit:
            return parse_args([])[1]
