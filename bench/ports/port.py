"""What the ports share: options, the order of the trials, and the exit status."""

import argparse
import random
import sys
from pathlib import Path

from sources import PEER, OURS, Stopped, both_sides
from trials import Victim, compare, cut

STEPS = ["tests", "compare", "cut"]


class Port:
    """A program, how its sources are edited, and what it is tried on."""

    #: The packages of both sides. The first is the program, with the versions that it was published with.
    crates = []
    #: The name of the program's file.
    binary = ""
    #: Packages with tests, and the arguments of their tests.
    tests = {}
    #: The exit statuses that tell of no error.
    quiet_statuses = (0,)

    def complete(self, side):
        """Adds what the tests need and the fetched packages lack, to either side."""

    def edit(self, side):
        """Edits the sources of our side."""
        raise NotImplementedError

    def edit_tests(self, side):
        """Edits tests of our side that use the mapping's slice."""

    def prepare(self, scratch, programs):
        """Creates the input files."""
        raise NotImplementedError

    def comparisons(self):
        """Returns the tasks that are timed."""
        raise NotImplementedError

    def cuts(self):
        """Returns tuples of a task, the file to cut, and whether output tells how far the task is."""
        raise NotImplementedError

    def main(self):
        """Runs the script. Exits with status 1 if a test failed or a cut was not told as an error."""
        name = Path(sys.argv[0]).stem
        parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
        default = Path(__file__).parent / "target"
        parser.add_argument("--dir", type=Path, default=default, help="scratch directory (%(default)s)")
        parser.add_argument("--only", choices=STEPS, action="append", help="run only this step")
        parser.add_argument("--rounds", type=int, default=21, help="rounds of a comparison (%(default)s)")
        parser.add_argument("--cuts", type=int, default=20, help="cuts of a file (%(default)s)")
        parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the cuts")
        options = parser.parse_args()
        sys.stdout.reconfigure(line_buffering=True)
        try:
            good = self.try_all(options.dir.resolve() / name, options)
        except Stopped as reason:
            sys.exit(f"{reason}.")
        sys.exit(0 if good else 1)

    def try_all(self, scratch, options):
        """Builds both programs and tries them. Returns `True` if all is well with ours."""
        steps = options.only or STEPS
        peer, ours = both_sides(scratch, self.crates)
        self.edit(ours)
        program = self.crates[0].name
        programs = {side.name: side.build(program, self.binary) for side in (peer, ours)}
        good = True
        if "tests" in steps:
            self.edit_tests(ours)
            self.complete(peer)
            self.complete(ours)
            for package, arguments in self.tests.items():
                for side in (peer, ours):
                    passed = side.test(package, *arguments)
                    good &= passed or side.name == PEER
        if {"compare", "cut"} & set(steps):
            self.prepare(scratch, programs)
        if "compare" in steps:
            for task in self.comparisons():
                compare(programs, task, options.rounds)
        if "cut" in steps:
            for task, path, by_output in self.cuts():
                victim = Victim(path)
                good &= cut(
                    programs,
                    task,
                    victim,
                    options.cuts,
                    options.seed,
                    by_output=by_output,
                    quiet_statuses=self.quiet_statuses,
                )
        return good
