"""A quick run of the benchmark of PyTorch modules."""

import pytest

pytest.importorskip("torch")


@pytest.mark.slow
def test_a_quick_run_prints_all_tables(capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # importing it sets this
    from benchmarks import torch_workers

    torch_workers.main(["--quick"])
    text = capsys.readouterr().out
    for words in ("| 784-256-10 | parsgd, 2 workers |", "| CNN | PyTorch DDP (gloo), 2 processes |", "| AdamW |"):
        assert words in text
