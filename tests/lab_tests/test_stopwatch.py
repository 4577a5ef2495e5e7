"""The stopwatch counts how end-to-end tests spend their time."""

from tests.e2e import stopwatch


def test_counts_are_taken_once() -> None:
    stopwatch.taken()
    with stopwatch.counted(stopwatch.RUN):
        pass
    with stopwatch.counted(stopwatch.RUN):
        pass
    found = stopwatch.taken()
    assert found["runs"] == 2 and 0 <= found["run seconds"] < 1000
    assert stopwatch.taken() == {}


def test_table_lists_the_longest_modules_and_tests_first() -> None:
    parts = [
        ("tests/e2e/test_a.py::test_one", 1.0, {"room seconds": 500}),
        ("tests/e2e/test_b.py::test_two", 5.0, {"run seconds": 2000, "runs": 1}),
        ("tests/e2e/test_b.py::test_two", 3.0, {"run seconds": 2000, "runs": 1}),
        ("tests/e2e/test_b.py::test_three", 1.0, {}),
    ]
    lines = [line.split() for line in stopwatch.table(parts, elapsed=10, busy=0.5)]
    assert lines[1:3] == [["test_b.py", "9", "0", "2", "4"], ["test_a.py", "1", "0", "0", "0"]]
    assert lines[4][:2] == ["test_b.py::test_two", "8"]
    assert lines[-1] == ["10", "s,", "in", "which", "the", "processors", "were", "busy", "for", "50%"]
