"""The page in a real browser: it says what the run did, keeps quiet, loads nothing, and fits a phone and a desk."""

import base64
import json
import warnings

import pytest
from sklearn.datasets import load_digits

import parsgd
from parsgd import AsyncLocalSGD, LocalSGD, MLPClassifier, SGDClassifier, Simulated, SimuParallel
from parsgd.model_io import model_files
from parsgd.training.reporting.history_stats import end_of, worker_totals
from parsgd.viz import number_format

pytestmark = pytest.mark.slow

X, Y = load_digits(return_X_y=True)
X = X / 16.0
NASTY = "</script><img src=x onerror=console.error('ran')>&\"'`$style`"
SETTINGS = {"max_iter": 4, "tol": None, "random_state": 0}
PATHS = {
    "serial": SGDClassifier(n_jobs=1, **SETTINGS),
    "rounds": SGDClassifier("log_loss", n_jobs=2, algorithm=LocalSGD(sync_every=0.1), **SETTINGS),
    "asynchronous": SGDClassifier(n_jobs=2, algorithm=AsyncLocalSGD(), **SETTINGS),
    "one shot": SGDClassifier(n_jobs=2, algorithm=SimuParallel(), **SETTINGS),
    "taking turns": MLPClassifier(
        (8,),
        n_jobs=3,
        engine="serial",
        algorithm=LocalSGD(sync_every=0.5),
        max_iter=3,
        early_stopping=True,
        random_state=0,
    ),
    "thirty": SGDClassifier(
        engine=Simulated(speeds=[1.0] * 20 + [0.5] * 10, rate=1e4, latency_s=0.01, failures={3: 0.1}),
        algorithm=LocalSGD(sync_every=0.5),
        **SETTINGS,
    ),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for name, model in PATHS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, Y)
        found[name] = parsgd.write_report(model, folder / f"{name}.html", X=X, y=Y)
    return found


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PATHS)
def test_every_page_is_quiet_loads_nothing_and_fits_the_window(name, width, pages, browser):
    for dark in (False, True):
        browser.open(pages[name], width, dark=dark)
        assert browser.messages == []
        assert [url for url in browser.requests if not url.startswith("data:")] == [pages[name].as_uri()]
        assert browser.value("document.documentElement.scrollWidth") == width
        paper = browser.value("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") is not dark
    shown = browser.value(
        "[...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().width > 0)"
        ".every(s => s.getBoundingClientRect().right <= innerWidth)"
    )
    assert shown


@pytest.mark.parametrize("name", ["rounds", "asynchronous", "thirty"])
def test_the_numbers_on_the_page_are_the_run_s(name, pages, browser):
    model = PATHS[name]
    browser.open(pages[name])
    workers = worker_totals(model.history_, all_wait=name != "asynchronous")
    rows = browser.value(
        "[...document.querySelectorAll('#work ~ * tbody tr, #work ~ details tbody tr')]"
        ".map(row => [...row.children].map(cell => cell.textContent))"
    )
    for one, row in zip(workers, rows, strict=False):
        told = [str(one.worker), f"{one.steps:,}", f"{one.examples:,}", number_format.seconds(one.computing)]
        assert row == [*told, number_format.seconds(one.waiting), f"{one.weight:.3f}"]
    tiles = browser.value("[...document.querySelectorAll('.tiles dd')].map(d => d.firstChild.textContent)")
    expected = [f"{model.score(X, Y):.4f}", number_format.seconds(end_of(model.history_)), str(model.n_iter_)]
    assert tiles == [*expected, str(model.algorithm_.n_workers)]
    data = json.loads(browser.value("document.getElementById('run').textContent"))
    assert [entry["loss"] for entry in data["rounds"]] == [entry["loss"] for entry in model.history_]
    assert data["n_workers"] == len(workers)
    assert data["serial_seconds"] == pytest.approx(
        sum(one.computing for one in workers) + sum(entry["check_seconds"] for entry in model.history_)
    )


def test_what_is_pointed_at_tells_what_it_is(pages, browser):
    browser.open(pages["rounds"], height=4000)
    model = PATHS["rounds"]
    assert browser.value("document.getElementById('tip').hidden")
    place = browser.value(
        "(b => [b.left + b.width / 2, b.top + b.height / 2])"
        "(document.querySelector('.pane .wide circle.mark').getBoundingClientRect())"
    )
    # beside the point is near enough
    browser.move(place[0] + 6, place[1])
    first = model.history_[0]
    said = browser.value("document.getElementById('tip').hidden || document.getElementById('tip').textContent")
    assert said.startswith(f"round 1, {first['epoch']:.3g} passes, ")
    assert said.endswith(f"loss {number_format.number(first['loss'])}")
    box = browser.value("(b => [b.left, b.right, b.top])(document.getElementById('tip').getBoundingClientRect())")
    assert box[0] >= 0
    assert box[1] <= 1280
    browser.move(2, 2)
    assert browser.value("document.getElementById('tip').hidden")


def test_charts_are_walked_through_with_the_keyboard(pages, browser):
    browser.open(pages["rounds"], height=4000)
    browser.value("document.querySelector('.pane .wide circle.mark').focus()")
    tips = [browser.value("document.getElementById('tip').textContent")]
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        browser.press(key)
        tips.append(browser.value("document.getElementById('tip').textContent"))
    assert [tip.split(",")[0] for tip in tips] == ["round 1", "round 2", "round 3", "round 2"]
    browser.press("Escape")
    assert browser.value("document.getElementById('tip').hidden")
    n = browser.value("[...document.querySelectorAll('svg')].map(s => s.querySelectorAll('[tabindex=\"0\"]').length)")
    assert set(n) <= {0, 1}


def test_tabs_show_one_chart_at_a_time(pages, browser):
    browser.open(pages["rounds"])
    panes = "[...document.querySelectorAll('.pane')].map(p => getComputedStyle(p).display)"
    assert browser.value(panes) == ["block", "none", "none"]
    browser.value("document.querySelectorAll('.tabs input')[1].click()")
    assert browser.value(panes) == ["none", "block", "none"]


def test_everything_has_a_name_for_who_does_not_see_it(pages, browser):
    browser.open(pages["rounds"])
    assert browser.value("document.documentElement.lang") == "en"
    assert browser.value("document.title") == "SGDClassifier: parsgd report"
    for what, has in {
        "svg[role=group]": "e.getAttribute('aria-label')",
        ".mark": "e.getAttribute('aria-label') === e.dataset.tip",
        "th": "e.scope",
        "table": "e.caption",
    }.items():
        assert browser.value(f"[...document.querySelectorAll('{what}')].every(e => {has})"), what
    assert browser.value("document.querySelectorAll('h1').length") == 1


def test_on_paper_it_is_light_and_without_buttons(pages, browser):
    browser.open(pages["rounds"], 718, dark=True, media="print")
    assert browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.value("getComputedStyle(document.querySelector('.tabs label')).display") == "none"
    assert base64.b64decode(browser.ask("Page.printToPDF")["data"]).startswith(b"%PDF")


def test_texts_from_outside_stay_texts(tmp_path, browser):
    model = SGDClassifier(n_jobs=2, algorithm="local", **SETTINGS).fit(X, Y)
    run = {
        "data": NASTY,
        "command": [NASTY],
        "warnings": [NASTY],
        "encoding": [NASTY],
        "classes": {NASTY: 3},
        "versions": {NASTY: NASTY},
        "target": NASTY,
        "scores": {NASTY: 1.0},
        "scored_on": NASTY,
    }
    model_files.save(model, tmp_path / "m", run=run)
    page = parsgd.write_report(tmp_path / "m", tmp_path / "page.html")
    browser.open(page)
    assert browser.messages == []
    assert browser.value("document.images.length") == 0
    assert browser.value("document.querySelector('h1').textContent") == f"SGDClassifier on {NASTY}"
    assert json.loads(browser.value("document.getElementById('run').textContent"))["run"]["data"] == NASTY
    assert browser.value("document.querySelector('.warnings li').textContent") == NASTY


def test_the_page_s_policy_lets_nothing_else_run_or_load(pages, browser, tmp_path):
    broken = tmp_path / "broken.html"
    text = pages["serial"].read_text(encoding="utf-8")
    broken.write_text(
        text.replace("<main>", "<main><script>window.ran = 1</script><img src='https://example.org/x.png'>")
    )
    browser.open(broken)
    assert browser.value("window.ran") is None
    assert len(browser.messages) == 2
