import time
from pathlib import Path

import pytest

from tests.docs.guides import Block, blocks, missing, run

PAGE = """Text.

```bash
export PATH=$PWD/.venv/bin:$PATH WORD=seen
```

```python
import os
print(os.environ["WORD"], 12.5)
```

```text
seen ...
```

```mermaid
flowchart LR
```
"""


def test_a_page_is_its_command_blocks_with_what_each_prints():
    assert blocks(PAGE) == [
        Block("bash", "export PATH=$PWD/.venv/bin:$PATH WORD=seen\n"),
        Block("python", 'import os\nprint(os.environ["WORD"], 12.5)\n', ("seen ...",)),
    ]


def test_blocks_share_a_shell_and_their_output_is_told_apart(tmp_path: Path):
    assert run(blocks(PAGE), tmp_path) == ["", "seen 12.5\n"]


def test_output_that_does_not_end_its_line_is_its_own_blocks(tmp_path: Path):
    assert run([Block("bash", "printf half\n"), Block("bash", "echo whole\n")], tmp_path) == ["half", "whole\n"]


@pytest.mark.parametrize("code", ["false\n", "false | cat\n", "echo $NOT_SET\n"], ids=["fails", "pipe", "unset"])
def test_a_block_that_fails_ends_the_guide_and_is_named(code: str, tmp_path: Path):
    with pytest.raises(AssertionError, match=code.split(maxsplit=1)[0]):
        run([Block("bash", "true\n"), Block("bash", code), Block("bash", "echo never\n")], tmp_path)


@pytest.mark.parametrize(
    ("expected", "first_missing"),
    [
        (("a 1", "b 2"), None),
        (("a ...", "...2"), None),
        (("b 2", "a 1"), "a 1"),
        (("a",), "a"),
        (("c...",), "c..."),
    ],
    ids=["whole lines", "elided", "other order", "part of a line", "not said"],
)
def test_expected_lines_must_follow_each_other(expected: tuple[str, ...], first_missing: str | None):
    assert missing(expected, "x\na 1\ny\nb 2\n") == first_missing


def test_what_a_block_left_running_ends_with_the_guide(tmp_path: Path):
    began = time.monotonic()
    assert run([Block("bash", "sleep 60 &\necho started\n")], tmp_path) == ["started\n"]
    assert time.monotonic() - began < 30  # else whoever reads its output waits for it
