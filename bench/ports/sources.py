"""Sources of the peers: fetched by Cargo, verified, unpacked twice, and edited once.

Cargo fetches each program in one exact version. Its archive is compared with a checksum that is written
here, and is unpacked for two sides: the peer's, which stays as it is, and ours, which is edited. Each side is a
workspace, and both have the same versions of all other packages.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
OURS, PEER = "sharemap", "memmap2"


class Stopped(Exception):
    """Ends a script with a sentence."""


class Crate(NamedTuple):
    """A package in one version, and the SHA-256 of its archive."""

    name: str
    version: str
    checksum: str
    #: Whether it is unpacked for its tests only: the others use the fetched package.
    apart: bool = False


def run(command, log, **options):
    """Runs a command, writes what it prints to the file `log`, and returns its standard output."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    log.write_text(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done


def cargo(directory, log, *arguments):
    """Runs cargo in a directory. Both sides share the build directory, so that a package is compiled once."""
    variables = dict(os.environ, CARGO_TARGET_DIR=str(directory.parent / "built"))
    return run(["cargo", *arguments], directory.parent / log, cwd=directory, env=variables)


def write_input(path, contents):
    """Writes an input file to the disk, so that no trial meets the writing of its pages."""
    with open(path, "wb") as file:
        file.write(contents)
        os.fsync(file.fileno())


def fetched_archive(crate, scratch):
    """Returns the archive of a package, which Cargo has fetched."""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    for path in home.glob(f"registry/cache/*/{crate.name}-{crate.version}.crate"):
        if hashlib.sha256(path.read_bytes()).hexdigest() == crate.checksum:
            return path
    raise Stopped(
        f"Cargo has no archive of {crate.name} {crate.version} with the checksum {crate.checksum}; "
        f"see {scratch / 'fetch.log'}"
    )


def fetch(scratch, crates):
    """Fetches packages with a throw-away project."""
    project = scratch / "fetch"
    (project / "src").mkdir(parents=True, exist_ok=True)
    (project / "src/lib.rs").write_text("")
    wanted = "".join(f'{crate.name} = "={crate.version}"\n' for crate in crates)
    (project / "Cargo.toml").write_text(
        '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n\n'
        f"[workspace]\n\n[dependencies]\n{wanted}"
    )
    done = cargo(project, "fetch.log", "fetch")
    if done.returncode != 0:
        raise Stopped(f"Cargo cannot fetch the packages; see {scratch / 'fetch.log'}")


def dependency(kind, optional):
    """Returns the table of a manifest that depends on this repository's sharemap."""
    table = f'[{kind}.sharemap]\npath = "{REPOSITORY / "crates/sharemap"}"\ndefault-features = false\n'
    return table + "optional = true\n" * optional


class Side:
    """A workspace of unpacked packages."""

    def __init__(self, scratch, name, crates, lock_of):
        self.name = name
        self.root = scratch / name
        self.crates = crates
        shutil.rmtree(self.root, ignore_errors=True)
        for crate in crates:
            with tarfile.open(fetched_archive(crate, scratch)) as archive:
                archive.extractall(self.root, filter="data")
            (self.root / f"{crate.name}-{crate.version}").rename(self.root / crate.name)
        members = ", ".join(f'"{crate.name}"' for crate in crates)
        (self.root / "Cargo.toml").write_text(f'[workspace]\nresolver = "2"\nmembers = [{members}]\n')
        shutil.copy(lock_of or self.root / crates[0].name / "Cargo.lock", self.root / "Cargo.lock")
        self.connect()

    def connect(self):
        """Makes the packages of the workspace depend on one another in place of fetched ones."""
        for crate in self.crates:
            manifest = self.root / crate.name / "Cargo.toml"
            text = manifest.read_text()
            for other in self.crates:
                if other.apart:
                    continue
                table = rf"^(\[(?:dev-)?dependencies\.{re.escape(other.name)}\])$"
                text = re.sub(table, rf'\1\npath = "../{other.name}"', text, flags=re.MULTILINE)
            manifest.write_text(text)

    def edit(self, file, pattern, replacement, times=1):
        """Replaces a regular expression, which must match exactly `times` times."""
        path = self.root / file
        text, found = re.subn(pattern, replacement, path.read_text(), flags=re.MULTILINE)
        if found != times:
            raise Stopped(f"{file} is not as expected: {pattern!r} occurs {found} times, not {times}")
        path.write_text(text)

    def depend(self, package, peer, *, optional=False):
        """Replaces the dependency of a package on its peer, which it may call by another name, by sharemap."""
        table = rf"^\[dependencies\.{peer}\]\n(?:\w.*\n)*"
        self.edit(f"{package}/Cargo.toml", table, dependency("dependencies", optional))

    def depend_in_tests(self, package):
        """Adds sharemap to what the tests of a package depend on."""
        self.append(f"{package}/Cargo.toml", "\n" + dependency("dev-dependencies", False))

    def append(self, file, text):
        """Appends text of ours to a file, which may be new."""
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as out:
            out.write(text)

    def build(self, package, binary):
        """Builds a program and returns its path."""
        log = f"build-{self.name}.log"
        done = cargo(self.root, log, "build", "--release", "--package", package)
        if done.returncode != 0:
            raise Stopped(f"{package} for {self.name} does not compile; see {self.root.parent / log}")
        built = self.root.parent / f"{binary}-{self.name}"
        # The build directory has one program of this name, whichever side was built last.
        shutil.copy(self.root.parent / "built/release" / binary, built)
        return built

    def test(self, package, *arguments):
        """Runs the tests of a package, prints their number, and returns `True` if all passed."""
        log = f"test-{package}-{self.name}.log"
        manifest = f"{package}/Cargo.toml"
        done = cargo(
            self.root, log, "test", "--release", "--no-fail-fast", "--manifest-path", manifest, *arguments
        )
        counts = re.findall(r"^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored", done.stdout, re.M)
        passed, failed, ignored = (sum(map(int, column)) for column in zip(*counts or ["000"]))
        good = done.returncode == 0 and passed > 0
        print(f"{package} with {self.name}: {passed} of its own tests passed, {failed} failed", end="")
        print(f", {ignored} are ignored by their authors." if ignored else ".")
        for name in sorted(set(re.findall(r"^test (.+) \.\.\. FAILED", done.stdout, re.M))):
            print(f"  {name} failed.")
        if not good:
            print(f"  The output is in {self.root.parent / log}.")
        return good


def both_sides(scratch, crates):
    """Fetches packages, and returns the sides of the peer and of sharemap, both unedited."""
    scratch.mkdir(parents=True, exist_ok=True)
    fetch(scratch, crates)
    peer = Side(scratch, PEER, crates, None)
    # Completes the list of versions, so that both sides have the same.
    if cargo(peer.root, "lock.log", "fetch").returncode != 0:
        raise Stopped(f"Cargo cannot fetch what the packages need; see {scratch / 'lock.log'}")
    return peer, Side(scratch, OURS, crates, peer.root / "Cargo.lock")
