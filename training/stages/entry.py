"""How every command of this package ends: one clear message and the right exit code."""

import sys
from collections.abc import Callable

from services.contracts.errors import WhodidError


def run(main: Callable[[], None]) -> None:
    """Call `main`; an error of ours goes to stderr as one line, and decides the exit code."""
    try:
        main()
    except WhodidError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
