"""The inner loop, ``make quick``: as many files of tests as fit into a number of seconds, by what they took here.

Every run notes in pytest's cache how long each test took. ``--within`` leaves out single tests that took longer than
:data:`LONGEST`, then whole files, the longest first, until the rest fits. Tests that never ran here are run.
"""

from collections import defaultdict

import pytest

LONGEST = 5.0
"""Seconds."""
_NOTES = "smf/seconds"


def pytest_addoption(parser):
    parser.addoption("--within", type=float, metavar="SECONDS", help="run the tests that took no longer here, together")


def pytest_configure(config):
    if config.getoption("within") is not None and not config.cache.get(_NOTES, {}):
        raise pytest.UsageError("--within does not know how long tests take on this machine; run `make test` once")
    config.pluginmanager.register(Stopwatch(config), "stopwatch")


def file_of(nodeid):
    return nodeid.partition("::")[0]


def chosen(seconds, nodeids, within):
    """Which tests are run.

    Args:
        seconds: How long tests took, by node id.
        nodeids: The tests there are.
        within: Seconds for all of them.

    Returns:
        Their node ids, and the files that are left out.
    """
    short = [nodeid for nodeid in nodeids if seconds.get(nodeid, 0.0) <= LONGEST]
    totals = defaultdict(float)
    for nodeid in short:
        totals[file_of(nodeid)] += seconds.get(nodeid, 0.0)
    spent, left_out = 0.0, []
    for file in sorted(totals, key=lambda file: (totals[file], file)):
        spent += totals[file]
        if spent > within:
            left_out.append(file)
    return {nodeid for nodeid in short if file_of(nodeid) not in left_out}, left_out


class Stopwatch:
    """Notes what tests take, and leaves out what takes too long."""

    def __init__(self, config):
        self._config, self._seconds, self._left_out = config, {}, []

    def pytest_runtest_logreport(self, report):
        self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self):
        if hasattr(self._config, "workerinput"):  # of xdist: its reports go to the process that started it
            self._config.workeroutput["left_out"] = self._left_out
        else:
            self._config.cache.set(_NOTES, self._config.cache.get(_NOTES, {}) | self._seconds)

    @pytest.hookimpl(trylast=True)  # when -m has had its say
    def pytest_collection_modifyitems(self, items):
        within = self._config.getoption("within")
        if within is None:
            return
        known = self._config.cache.get(_NOTES, {})
        kept, self._left_out = chosen(known, [item.nodeid for item in items], within)
        self._config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in kept])
        items[:] = [item for item in items if item.nodeid in kept]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self._left_out = getattr(node, "workeroutput", {}).get("left_out", [])

    def pytest_terminal_summary(self, terminalreporter):
        if self._left_out:
            terminalreporter.write_line(f"left out, as they took too long: {', '.join(self._left_out)}")
