"""Reports and plots of the fits of modules."""

import pytest
from torch_modules import adamw, cross_entropy, make_net

import parsgd
from parsgd.errors import InvalidArgumentError
from parsgd.torch import TorchClassifier, Trainer


@pytest.fixture(scope="module")
def fits(rows):
    settings = {"engine": "serial", "n_workers": 2}
    trainer = Trainer(make_net(), cross_entropy, optimizer=adamw, **settings).fit(rows, rows, epochs=2)
    X, y = (part.numpy() for part in rows)
    return trainer, TorchClassifier(max_epochs=2, random_state=0, **settings).fit(X, y)


def test_the_report_page_describes_the_fit(fits, rows):
    trainer, classifier = fits
    assert "Trainer" in parsgd.write_report(trainer)
    page = parsgd.write_report(classifier, X=rows[0].numpy(), y=rows[1].numpy())
    assert "TorchClassifier" in page
    assert "max_epochs" in page
    with pytest.raises(InvalidArgumentError, match="must be fitted"):
        parsgd.write_report(Trainer(make_net(), optimizer=adamw))


def test_plots_read_the_history(fits):
    plotting = pytest.importorskip("parsgd.plotting")
    for fitted in fits:
        for display in (plotting.GanttDisplay, plotting.LossDisplay, plotting.WeightsDisplay, plotting.WorkDisplay):
            assert display.from_estimator(fitted).ax_ is not None
    assert plotting.LossDisplay.from_estimator(fits[0], show="score").ax_ is not None
