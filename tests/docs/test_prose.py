"""Rules of prose: docstrings open with a verb or a noun, sentences are short, words are the field's."""

import ast
import functools
import io
import re
import tokenize
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Words that describe code as if it were a person, or that stand for a term of the field.
WORDS = re.compile(
    r"\b(told|tells?|said|says?|whoever|whatever|nobody|somebody|anybody|everybody|anew|dealt|deals?|pays?|paid|hears?"
    r"|speaks?|alike|likewise|so many|as many as|goes on|go on|went on|set out|sets out|in words|not given"
    r"|is no number)\b",
    re.I,
)
QUESTION = re.compile(r"(What|Who|Whose|Whether|Where|Which|How)\b")
WORD = re.compile(r"[A-Za-z][A-Za-z']*")
MOST_WORDS = 30


@functools.cache
def prose_of(path):
    """Return the prose of a module (docstrings and comments) or of a page (without code, tables and addresses)."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        comments = [
            token.string.lstrip("# ")
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT
        ]
        return "\n\n".join([*docstrings(text).values(), *comments])
    text = re.sub(r"```.*?```|<!--.*?-->", " ", text, flags=re.S)
    return re.sub(r"`[^`]*`|\(https?:[^)]*\)|^\|.*$", " ", text, flags=re.M)


@functools.cache
def docstrings(source):
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    return {getattr(node, "name", "module"): text for node in nodes if (text := ast.get_docstring(node))}


def sentences(text):
    for block in re.split(r"\n\s*\n|\n\s*(?=[-*>|]|\d+\.)", text):
        yield from re.split(r"(?<=[.!?:])\s+", block)


@pytest.mark.parametrize("files", [SOURCES, PAGES], ids=["modules", "pages"])
def test_words_are_those_of_the_field(files):
    n_words, found = 0, defaultdict(list)
    for path in files:
        text = prose_of(path)
        n_words += len(WORD.findall(text))
        found[str(path.relative_to(ROOT))] += [match.group() for match in WORDS.finditer(text)]
    n_found = sum(map(len, found.values()))
    assert n_found <= n_words / 1000, {name: words for name, words in found.items() if words}


@pytest.mark.parametrize("files", [SOURCES, PAGES], ids=["modules", "pages"])
def test_sentences_are_short(files):
    lengths = {s: len(WORD.findall(s)) for path in files for s in sentences(prose_of(path))}
    long = [sentence for sentence, length in lengths.items() if length > MOST_WORDS]
    assert len(long) <= 0.02 * len(lengths), long[:20]


def test_docstrings_open_with_a_verb_or_a_noun():
    found = [
        f"{path.relative_to(ROOT)}: {name}: {text.splitlines()[0]}"
        for path in SOURCES
        for name, text in docstrings(path.read_text(encoding="utf-8")).items()
        if QUESTION.match(text)
    ]
    assert not found


def test_a_file_name_and_a_public_class_name_occur_once():
    stems, classes = defaultdict(list), defaultdict(list)
    for path in SOURCES:
        if not path.stem.startswith("__"):
            stems[path.stem].append(path)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(path)
    assert not {name: paths for name, paths in (stems | classes).items() if len(paths) > 1}
