from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from papyra.node import Node, is_gone, this_node

HERE = this_node()
NODE_OF_CHILD = "from papyra.node import this_node; print(this_node().to_dict(), flush=True); input()"


def child() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", NODE_OF_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def node_of(process: subprocess.Popen[str]) -> Node:
    assert process.stdout is not None
    line = process.stdout.readline()
    values: dict[str, Any] = {}
    for item in line.strip().strip("{}").split(", "):
        name, _, value = item.partition(": ")
        values[name.strip("'")] = int(value) if value.isdigit() else value.strip("'")
    node = Node.from_mapping(values)
    assert node is not None
    return node


def test_this_process_lives() -> None:
    assert HERE.pid == os.getpid()
    assert not is_gone(HERE)


def test_a_living_child_is_not_gone_and_a_killed_one_is_even_before_it_is_waited_for() -> None:
    with child() as process:
        node = node_of(process)
        assert (node.host, node.boot_id, node.pid) == (HERE.host, HERE.boot_id, process.pid)
        assert not is_gone(node)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(node), "a zombie runs nothing"
        process.wait()
        assert is_gone(node)


def test_a_pid_that_is_used_again_is_not_the_old_process() -> None:
    assert is_gone(replace(HERE, started=HERE.started - 1))
    assert not is_gone(replace(HERE, started=0)), "an old record that does not tell cannot be judged"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_is_told_from_its_parent() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, f"{this_node().pid}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    assert int(os.read(read, 20)) == pid != HERE.pid
    os.close(read)


def test_another_boot_of_this_machine_is_gone() -> None:
    machine = HERE.machine or "0123456789abcdef"
    node = replace(HERE, boot_id="another", machine=machine)
    assert is_gone(node) is (HERE.machine != "")


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "another", "boot_id": "another"},
        {"machine": "another", "boot_id": "another"},
        {"machine": "", "boot_id": "another"},
        {"boot_id": ""},
        {"pid_namespace": "pid:[1]", "pid": 2**22 + 1},
        {"pid_namespace": "", "pid": 2**22 + 1},
    ],
    ids=str,
)
def test_what_cannot_be_judged_from_here_is_never_gone(changes: dict[str, Any]) -> None:
    assert not is_gone(replace(HERE, **changes))


def test_a_process_that_never_was_is_gone() -> None:
    assert is_gone(replace(HERE, pid=2**22 + 1))


def test_a_node_is_read_back() -> None:
    assert Node.from_mapping(HERE.to_dict()) == HERE
    plain = {"host": "h", "pid": 5, "boot_id": "b", "started": 7}
    assert Node.from_mapping(plain) == Node(host="h", pid=5, boot_id="b", started=7)


@pytest.mark.parametrize(
    "changes",
    [
        *({"pid": value} for value in (None, 0, -1, True, "5", 5.0, 2**31, 2**70)),
        *({"started": value} for value in (None, -1, "1", False)),
        *({name: value} for name in ("host", "boot_id", "machine", "pid_namespace") for value in (None, 5)),
    ],
    ids=str,
)
def test_a_stored_node_that_no_process_can_be_is_none(changes: dict[str, object]) -> None:
    assert Node.from_mapping({**HERE.to_dict(), **changes}) is None
    assert Node.from_mapping({}) is None
