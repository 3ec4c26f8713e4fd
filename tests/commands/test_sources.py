import pytest

from kacap.commands.sources import sources, split_words
from kacap.errors import CaptureError, UsageError


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """Stand in a directory with two captures, a directory and a file that is named like a filter word."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.pcap", "b.pcap", "port", "filter.txt"):
        (tmp_path / name).write_text("port 5432\n  and tcp\n")
    (tmp_path / "old").mkdir()


@pytest.mark.parametrize(
    ("words", "files", "expression"),
    [
        (["a.pcap"], ["a.pcap"], None),
        (["a.pcap", "b.pcap"], ["a.pcap", "b.pcap"], None),
        (["*.pcap"], ["a.pcap", "b.pcap"], None),
        (["-", "tcp"], ["-"], "tcp"),
        (["a.pcap", "port", "5432"], ["a.pcap"], "port 5432"),
        (["port"], ["port"], None),
        (["a.pcap", "./port"], ["a.pcap", "./port"], None),
        (["a.pcap", "tcp[13] & 4 != 0"], ["a.pcap"], "tcp[13] & 4 != 0"),
        (["a.pcap", "len", "-", "4", ">", "20"], ["a.pcap"], "len - 4 > 20"),
        (["a.pcap", "(", "tcp", ")"], ["a.pcap"], "( tcp )"),
        (["a.pcap", "!tcp"], ["a.pcap"], "!tcp"),
        (["a.pcap", "not", "b.pcap"], ["a.pcap"], "not b.pcap"),
    ],
)
def test_files_end_where_the_filter_begins(words, files, expression):
    assert split_words(words) == (files, expression)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["missing.pcap"], "missing.pcap: no such file"),
        (["a.pcap", "missing.pcap"], "missing.pcap: no such file"),
        (["*.cap"], r"\*.cap: no file matches"),
        (["old"], "old: a directory; name its files, for example 'old/"),
        (["portt", "80"], "portt: no such file"),
    ],
)
def test_a_word_that_is_neither_file_nor_filter_is_named(words, says):
    with pytest.raises(CaptureError, match=says):
        split_words(words)


def test_r_names_files_and_leaves_the_words_to_the_filter():
    assert sources(["port", "80"], ["a.pcap"]) == (["a.pcap"], "port 80")
    assert sources(["b.pcap", "tcp"], ["a.pcap"]) == (["a.pcap", "b.pcap"], "tcp")
    with pytest.raises(CaptureError, match="missing: no such file"):
        sources([], ["missing"])


def test_the_filter_may_come_from_a_file_but_only_once():
    assert sources(["a.pcap"], filter_file="filter.txt") == (["a.pcap"], "port 5432 and tcp")
    with pytest.raises(UsageError, match="two filters"):
        sources(["a.pcap", "tcp"], filter_file="filter.txt")
    with pytest.raises(UsageError, match="nothing: cannot read the filter: No such file"):
        sources(["a.pcap"], filter_file="nothing")


def test_without_a_file_or_with_standard_input_twice_the_request_is_refused():
    with pytest.raises(UsageError, match="name a capture file"):
        sources([])
    with pytest.raises(UsageError, match="only once"):
        sources(["-", "-"])
    with pytest.raises(UsageError, match="name a capture file"):
        sources(["tcp"])
