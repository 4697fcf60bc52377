"""Damaged, altered and forged model files: each is refused with a message or is a model, and none runs code.

The files of ``tests/model_io/saved`` are the victims.  Damage to bytes is what disks and networks do; the checksum sees
it.  Forgery, with a right checksum, is what someone does who means harm.
"""

import itertools
import json
import pickle
import random
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import parsgd
from parsgd.errors import ModelFileError
from parsgd.model_io import model_files, safetensors_file

FOLDER = Path(__file__).parent / "saved" / "format-1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text("utf-8"))
VICTIMS = sorted(EXPECTED)
NESTED = "[" * 5000 + "]" * 5000


class Bomb:
    """Goes off, and leaves a trace, if anybody unpickles it."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return open, (self.trace, "w")


def rows_of(name):
    return np.array(EXPECTED[name]["rows"], dtype=EXPECTED[name]["dtype"])


number_of_files = pytest.mark.parametrize("n_files", [250, pytest.param(5000, marks=pytest.mark.slow)])


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Gives the model of a file's content, or None where it is refused; any other exception fails the test.

    To write a file takes longer than all the rest, so that only one in fifty goes by the disk.
    """
    counted, path, read = itertools.count(), tmp_path / "m.parsgd", safetensors_file.read

    def model_of(content):
        by_disk = next(counted) % 50 == 0
        if by_disk:
            path.write_bytes(content)
        monkeypatch.setattr(safetensors_file, "read", read if by_disk else lambda kind, path: content)
        try:
            return parsgd.load(path)
        except ModelFileError:
            return None

    return model_of


# -- damage to bytes ---------------------------------------------------------------------------------------------------


def flip(content, at, length, dice, bomb):
    return content[:at] + bytes([content[at] ^ (1 << dice.randrange(8))]) + content[at + 1 :]


def overwrite(content, at, length, dice, bomb):
    return content[:at] + dice.randbytes(length) + content[at + length :]


def truncate(content, at, length, dice, bomb):
    return content[:at]


def cut_out(content, at, length, dice, bomb):
    return content[:at] + content[at + length :]


def repeat(content, at, length, dice, bomb):
    return content[: at + length] + content[at:]


def swap(content, at, length, dice, bomb):
    other = dice.randrange(len(content))
    first, second = sorted((content[at : at + length], content[other : other + length]), key=content.find)
    return content.replace(first, b"\0\0", 1).replace(second, first, 1).replace(b"\0\0", second, 1)


def insert(content, at, length, dice, bomb):
    return content[:at] + dice.randbytes(length) + content[at:]


def insert_json(content, at, length, dice, bomb):
    text = dice.choice([b'{"a":1}', b'"', b"}", b"NaN", b',"x":[]', b'"__metadata__":{},', NESTED.encode()])
    return content[:at] + text + content[at:]


def insert_pickle(content, at, length, dice, bomb):
    return dice.choice([bomb, bomb + content, content + bomb, content[:at] + bomb + content[at:]])


def claim_header(content, at, length, dice, bomb):
    size = dice.choice([0, 1, 7, len(content), len(content) - 8, 2**31, 2**40, 2**63, 2**64 - 1])
    return size.to_bytes(8, "little") + content[8:]


def claim_shape(content, at, length, dice, bomb):
    shapes = (b"[4294967296,4294967296]", b"[0,1099511627776]", b"[-1]", b"[1e9]", b"[]", b"[18446744073709551615]")
    claimed = dice.choice(shapes)
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    begin = header.find(b'"shape":', dice.randrange(len(header)))
    end = header.find(b"]", begin)
    altered = header[: begin + 8] + claimed + header[end + 1 :] if begin >= 0 else header + b" "
    return len(altered).to_bytes(8, "little") + altered + content[8 + len(header) :]


def name_twice(content, at, length, dice, bomb):
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    entries = json.loads(header)
    name = dice.choice(sorted(entries))
    again = f"{json.dumps(name)}:{json.dumps(entries[name])},".encode()
    altered = b"{" + again + header[1:]
    return len(altered).to_bytes(8, "little") + altered + content[8 + len(header) :]


DAMAGES = (
    flip,
    flip,
    overwrite,
    truncate,
    cut_out,
    repeat,
    swap,
    insert,
    insert_json,
    insert_pickle,
    claim_header,
    claim_shape,
    name_twice,
)


@number_of_files
def test_a_damaged_file_is_refused_or_read_as_it_was(n_files, loaded, tmp_path):
    dice, trace = random.Random(0), tmp_path / "bomb"
    bomb = pickle.dumps(Bomb(trace))
    contents = {name: (FOLDER / f"{name}.parsgd").read_bytes() for name in VICTIMS}
    right = {name: parsgd.load(FOLDER / f"{name}.parsgd").predict(rows_of(name)) for name in VICTIMS}
    refused = 0
    for i in range(n_files):
        name = VICTIMS[i % len(VICTIMS)]
        content = contents[name]
        # half of all damage goes to the front, where the structure is
        at = dice.randrange(len(content) if dice.random() < 0.5 else 400)
        model = loaded(dice.choice(DAMAGES)(content, at, dice.choice([1, 2, 8, 100]), dice, bomb))
        refused += model is None
        assert model is None or np.array_equal(model.predict(rows_of(name)), right[name])
    assert refused > 0.8 * n_files
    assert not trace.exists()


# -- forgery -----------------------------------------------------------------------------------------------------------

JUNK = (
    None,
    True,
    False,
    0,
    -1,
    3,
    10**30,
    10**400,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "hinge",
    "softmax",
    [],
    [[]],
    [1, 2, 3],
    {},
    {"a": 1},
    {"$array": "coef_"},
    {"$array": "coef_", "transposed": True},
    {"$array": "no", "transposed": False},
    {"$array": "__class__"},
    {"$float": 1},
    {"$float": "inf"},
    {"$float": "nan"},
    {"$part": "os"},
    {"$part": []},
    {"$part": "subprocess:Popen", "fields": {"args": "true"}},
    {"$part": "LocalSGD", "fields": {"sync_every": 2}},
    {"$part": "LocalSGD", "fields": {}},
    {"$part": "Simulated", "fields": {"speeds": [1.0]}},
    {"$part": "StoppingRule"},
    {"$part": "StoppingRule", "fields": {"best": 3, "monitor": {"$part": "LocalSGD", "fields": {}}}},
    {"$part": "Choice", "fields": {"name": 1, "why": 2, "algorithm": 3, "n_workers": 4}},
    {"$part": "Adaptive", "fields": {"__class__": 1}},
    {"$record": "os:path"},
    {"$record": "algorithms.local_sgd:_Memory", "fields": {}},
    {"$dict": [[[], 1]]},
    {"$dict": 3},
    {"$dict": [[1, 2]]},
    {"$texts": [1, 2], "dtype": "str"},
    {"$texts": ["b", "a"], "dtype": "object"},
    {"$texts": ["a", "a", "a"], "dtype": "str"},
    {"$outcome": "CONVERGED"},
    {"$outcome": "__class__"},
    {"$tuple": 1},
    {"$tuple": [1, 2]},
    {"$unknown": 1},
)
CLASSES = ("Popen", "SGDClassifier", "MLPRegressor", "__class__", "save", "", None, 3, ["SGDClassifier"])


def places(node):
    """Every ``(container, key)`` of a tree of lists and dictionaries."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield node, key
        yield from places(value)


def alter_tree(head, document, arrays, dice):
    # most attributes are a step or two below; the depths of history_ are no more than a record
    tree = dice.choice([head, head.get("params"), document["fitted"], document["fitted"], document])
    found = [(c, k) for c, k in places(tree) if k not in ("format", "params", "fitted")]
    if not found:
        return
    container, key = dice.choice(found)
    what = dice.randrange(5)
    if what == 0:
        del container[key]
    elif what == 1:
        other, place = dice.choice(list(places(document)))
        container[key], other[place] = json.loads(json.dumps(other[place])), json.loads(json.dumps(container[key]))
    else:
        container[key] = json.loads(json.dumps(dice.choice(JUNK)))


def alter_class(head, document, arrays, dice):
    head["class"] = dice.choice(CLASSES)


def alter_array(head, document, arrays, dice):
    name, what = dice.choice(sorted(arrays)), dice.randrange(5)
    if what == 0:
        del arrays[name]
    elif what == 1:
        other = dice.choice(sorted(arrays))
        arrays[name], arrays[other] = arrays[other], arrays[name]
    elif what == 2:
        shape = dice.choice([(), (0,), (1,), (2, 3), (0, 2**40), (arrays[name].size,), (1, arrays[name].size)])
        arrays[name] = np.ones(shape, dtype=dice.choice(["f8", "f4", "i8", "u1", "?"]))
    elif what == 3:
        arrays[name] = np.full_like(arrays[name], dice.choice([np.nan, np.inf, -1e300, 0]))
    else:
        arrays[dice.choice(["extra", "coef_", "", "a" * 1000])] = arrays[name]


def taken_apart(name):
    head, arrays = safetensors_file.deserialize(model_files.KIND, (FOLDER / f"{name}.parsgd").read_bytes())
    return head, arrays.pop("document").tobytes(), arrays


def sealed(head, document, arrays):
    """A file whose checksum is right, whatever is in it."""
    arrays = {**arrays, "document": np.frombuffer(document, dtype=np.uint8)}
    return b"".join(safetensors_file.serialize(model_files.KIND, head, arrays))


@pytest.mark.filterwarnings("ignore")  # predictions with the numbers of others may overflow
@number_of_files
def test_a_forged_file_with_a_right_checksum_is_refused_or_predicts(n_files, loaded):
    dice = random.Random(1)
    whole = {name: taken_apart(name) for name in VICTIMS}
    modules, refused = None, 0
    for i in range(n_files):
        name = VICTIMS[i % len(VICTIMS)]
        head, text, arrays = whole[name]
        head, document, arrays = json.loads(json.dumps(head)), json.loads(text), dict(arrays)
        for _ in range(dice.choice([1, 1, 2])):
            dice.choice([alter_tree, alter_tree, alter_tree, alter_array, alter_class])(head, document, arrays, dice)
        text = json.dumps(document)
        if dice.random() < 0.02:
            text = text.replace("null", NESTED, 1) if dice.random() < 0.5 else text.replace("{", '{"notes":{},', 1)
        model = loaded(sealed(head, text.encode(), arrays))
        refused += model is None
        if model is not None:
            # in the dtype that it has now, with as many columns as it says that there are
            rows = np.resize(rows_of(name), (8, model.n_features_in_))
            assert len(model.predict(rows)) == 8
            assert repr(model).startswith(type(model).__name__)
        if i == min(n_files // 2, 500):
            modules = set(sys.modules)
    assert 0.4 * n_files < refused < 0.95 * n_files
    assert all(name.startswith(("parsgd.", "numba", "llvmlite")) for name in set(sys.modules) - modules)


@pytest.mark.filterwarnings("ignore")  # eight rows are fewer than a batch, and numbers may overflow
def test_what_a_forged_file_remembers_is_refused_or_goes_on(loaded, tmp_path):
    dice = random.Random(2)
    for name in ("classifier-softmax", "regressor", "network-going-on", "network"):
        head, text, arrays = taken_apart(name)
        rows, y = rows_of(name), np.array(EXPECTED[name]["predict"])
        for _ in range(150):
            document = json.loads(text)
            fitted = document["fitted"]
            fitted[dice.choice(sorted(fitted))] = json.loads(json.dumps(dice.choice(JUNK)))
            model = loaded(sealed(head, json.dumps(document).encode(), arrays))
            if model is not None:
                parsgd.save(model, tmp_path / "again.parsgd")
                model.partial_fit(rows, y)


def test_no_claim_of_a_file_makes_memory_be_taken(tmp_path, loaded, monkeypatch):
    content = (FOLDER / "classifier.parsgd").read_bytes()
    head, text, arrays = taken_apart("classifier")
    files = [claim_header(content, 0, 0, random.Random(i), b"") for i in range(20)]
    files += [claim_shape(content, 0, 0, random.Random(i), b"") for i in range(40)]
    for key in ("n_features_in_", "t_", "n_iter_"):
        document = json.loads(text)
        document["fitted"][key] = 2**40
        files.append(sealed(head, json.dumps(document).encode(), arrays))
    files.append(sealed(head, b"[" * 10_000_000, arrays)[:1_000_000])
    files.append(sealed(head, text, {**arrays, "coef_": np.zeros((0, 2**40))}))
    with open(tmp_path / "sparse", "wb") as file:
        file.write(b"PK\3\4")
        file.truncate(2**36)  # 64 GiB that take no room on the disk
    tracemalloc.start()
    try:
        for content in files:
            loaded(content)
        monkeypatch.undo()
        with pytest.raises(ModelFileError, match="not a model file"):
            parsgd.load(tmp_path / "sparse")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_devices_are_refused_and_not_read_for_ever():
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(ModelFileError, match="is a device"):
            parsgd.load(device)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(history_=[1]), "history_ is not a list of rounds"),
        (lambda d: d.update(algorithm_=3), "algorithm_ is 3, not a Choice"),
        (lambda d: d.update(outcome_=None), "outcome_ is None, not an Outcome"),
        (lambda d: d.update(loss_curve_=["a"]), "loss_curve_ is .*, not a list of numbers"),
        (lambda d: d.update(loss_curve_=None), "loss_curve_ is None, not a list of numbers"),
        (lambda d: d["_rule"]["fields"].update(idle=None), "_rule, the stopping rule"),
        (lambda d: d["_rule"]["fields"].update(patience="x"), "_rule, the stopping rule"),
        (lambda d: d.update(t_=10**400), "t_ is 1000"),
    ],
)
def test_what_is_remembered_wrongly_is_refused_by_name(change, said, tmp_path):
    head, text, arrays = taken_apart("network-going-on")
    document = json.loads(text)
    change(document["fitted"])
    (tmp_path / "m.parsgd").write_bytes(sealed(head, json.dumps(document).encode(), arrays))
    with pytest.raises(ModelFileError, match=said):
        parsgd.load(tmp_path / "m.parsgd")


def test_names_that_come_twice_and_numbers_that_are_none_are_refused(tmp_path):
    head, text, arrays = taken_apart("regressor")
    path = tmp_path / "m.parsgd"
    for altered, said in ((b'{"notes":{},' + text[1:], "twice"), (text.replace(b"null", b"NaN"), "NaN is not allowed")):
        path.write_bytes(sealed(head, altered, arrays))
        with pytest.raises(ModelFileError, match=said):
            parsgd.load(path)


def test_a_file_of_numbers_from_a_later_version_says_to_update(tmp_path):
    head, text, arrays = taken_apart("one-class")
    (tmp_path / "m.parsgd").write_bytes(
        sealed(head | {"format": model_files.FORMAT + 1, "version": "9.0"}, text, arrays)
    )
    with pytest.raises(ModelFileError, match=r"written by parsgd 9.0.*pip install --upgrade"):
        parsgd.load(tmp_path / "m.parsgd")
