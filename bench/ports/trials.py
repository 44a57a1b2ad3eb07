"""Trials of two builds of one program: the same input side by side, and files that are cut short."""

import math
import os
import random
import signal
import statistics
import subprocess
import time
from typing import NamedTuple

from sources import OURS, PEER, Stopped

PAGE = os.sysconf("SC_PAGE_SIZE")
#: Seconds after which a program counts as hanging.
PATIENCE = 120


class Task(NamedTuple):
    """A use of the program: what it does, and the arguments after the program's path."""

    name: str
    arguments: list
    #: Another way of the unedited program to do the same, and its arguments.
    other: tuple = ()


def interval(ratios):
    """Returns the 95 % interval of the median, by order statistics (the inverted sign test)."""
    ratios = sorted(ratios)
    count, tail, outside = len(ratios), 0.0, 0
    while (tail := tail + math.comb(count, outside) / 2**count) <= 0.025:
        outside += 1
    low = max(outside - 1, 0)
    return ratios[low], ratios[count - 1 - low]


def timed(command):
    """Runs a command, and returns its elapsed and its processor seconds."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    elapsed = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Stopped(f"{command[0]} failed with status {process.returncode}")
    return elapsed, used.ru_utime + used.ru_stime


def compare(programs, task, rounds):
    """Runs both programs in turn, in an order that changes, and prints medians and ratios."""
    commands = {side: [programs[side], *task.arguments] for side in (OURS, PEER)}
    if task.other:
        commands[task.other[0]] = [programs[PEER], *task.other[1]]
    outputs = {
        subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout for command in commands.values()
    }
    if len(outputs) > 1:
        raise Stopped(f"{task.name}: the programs print different results")
    times = {side: [] for side in commands}
    sides = list(commands)
    for number in range(rounds):
        for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
            times[side].append(timed(commands[side]))
    for column, what in enumerate(["elapsed", "processor"]):
        columns = {side: [each[column] for each in times[side]] for side in sides}
        ours = columns.pop(OURS)
        for side, peer in columns.items():
            ratios = [mine / other for mine, other in zip(ours, peer)]
            low, high = interval(ratios)
            print(
                f"{task.name}, {what} time: {OURS} {statistics.median(ours) * 1e3:.1f} ms, "
                f"{side} {statistics.median(peer) * 1e3:.1f} ms, ratio {statistics.median(ratios):.3f} "
                f"(95 % interval {low:.3f} to {high:.3f}, {rounds} rounds)."
            )


class Victim:
    """A file that is cut short and restored."""

    def __init__(self, path):
        self.path = path
        self.contents = path.read_bytes()

    def restore(self):
        """Writes again what the last cut took away."""
        with open(self.path, "r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(memoryview(self.contents)[file.tell() :])

    def length(self, number, chance):
        """Returns the length of the cut of this number. Four kinds alternate."""
        whole = len(self.contents)
        anywhere = chance.randrange(whole // 2)
        return [
            0,
            anywhere // PAGE * PAGE,
            anywhere // PAGE * PAGE + chance.randrange(1, PAGE),
            whole - min(100, (whole - 1) % PAGE),  # the last page stays
        ][number % 4]


def mapped_pages(process):
    """Returns the number of pages of files in the memory of a process, or `None` if it has ended."""
    try:
        with open(f"/proc/{process.pid}/statm") as statm:
            return int(statm.read().split()[2]) if process.poll() is None else None
    except OSError:
        return None


def wait_for_pages(process, pages):
    """Spins until the process has so many pages of files in its memory. Returns `b""`, or `None` if it ended."""
    while (now := mapped_pages(process)) is not None:
        if now >= pages:
            return b""
    return None


def wait_for_output(process, size):
    """Reads so many bytes of the output, and leaves the process blocked when the pipe is full."""
    output = b""
    while len(output) < size:
        more = os.read(process.stdout.fileno(), size - len(output))
        if not more:
            return None
        output += more
    return output


def cut_once(command, victim, length, wait, whole, quiet_statuses):
    """Cuts the file while the program works on it. Returns how the program ended, and its last message.

    Returns `None` if the program ended before the cut.
    """
    victim.restore()
    with subprocess.Popen(command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        seen = wait(process)
        if seen is None:
            process.communicate()
            return None
        os.truncate(victim.path, length)
        has_ended = process.poll() is not None
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return "hung", ""
    status = process.returncode
    lines = errors.decode(errors="replace").strip().splitlines()
    if status < 0:
        return "died", signal.Signals(-status).name
    if status not in quiet_statuses:
        return ("told", lines[-1]) if lines else ("silent", "")
    if seen + output != whole:
        return "wrong", ""
    return None if has_ended else ("whole", "")


def cut(programs, task, victim, cuts, seed, *, by_output, quiet_statuses=(0,)):
    """Cuts the file in mid-run and prints what happens. Returns `True` if sharemap told each cut as an error.

    The cut comes when the program has written some output and is blocked on the rest (`by_output`), or
    when it has mapped a part of the file, between a tenth and six tenths.
    `quiet_statuses` are the exit statuses that tell of no error.
    """
    good = True
    for side in (PEER, OURS):
        chance = random.Random(seed)
        victim.restore()
        command = [programs[side], *task.arguments]
        whole = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        ends, example = [], ""
        for _ in range(20 * cuts):
            if len(ends) == cuts:
                break
            part = chance.uniform(0.1, 0.6)
            if by_output:
                wait = lambda process: wait_for_output(process, int(part * len(whole)))
            else:
                wait = lambda process: wait_for_pages(process, int(part * len(victim.contents)) // PAGE)
            length = victim.length(len(ends), chance)
            end = cut_once(command, victim, length, wait, whole, quiet_statuses)
            if end is not None:
                ends.append(end[0])
                example = example or end[1]
        victim.restore()
        if len(ends) < cuts:
            raise Stopped(f"{task.name}: the program ends before the file is cut")
        kinds = {
            "died": "deaths",
            "wrong": "wrong results without an error",
            "told": "told as an error",
            "whole": "results that are right all the same",
            "silent": "failures without a message",
            "hung": "hung",
        }
        told = ", ".join(
            f"{ends.count(kind)} {what}"
            for kind, what in kinds.items()
            if kind in ends or kind in ("died", "wrong", "told")
        )
        print(f"{task.name}, cut short in mid-run {cuts} times (seed {seed}), with {side}: {told}.")
        if example:
            print(f"  For example: {example}")
        if side == OURS:
            good = ends.count("told") == cuts
    return good
