"""Prose is found in Markdown, cut into sentences, and counted."""

from __future__ import annotations

from scripts.prose import long_sentences, paragraphs, sentences


def texts(markdown: str) -> list[str]:
    return [sentence.text for sentence in sentences(markdown)]


def test_headings_tables_code_and_comments_are_no_prose():
    markdown = "# Head\n\n| a | b |\n\n```sh\n$ echo Hello. There.\n```\n\n<!-- No. -->\n\nProse.\n"
    assert list(paragraphs(markdown)) == [(11, "Prose.")]


def test_list_items_are_paragraphs_by_themselves():
    assert [text for _, text in paragraphs("- one\n  more\n- two\n1. three\n")] == ["one more", "two", "three"]


def test_sentences_end_at_points_question_and_exclamation_marks():
    assert texts("One is here. Is two? Three!\n") == ["One is here.", "Is two?", "Three!"]


def test_points_within_numbers_names_and_abbreviations_end_no_sentence():
    assert texts("Python 3.11 reads a.toml, e.g. yours. Done.\n") == ["Python 3.11 reads a.toml, eg yours.", "Done."]


def test_code_counts_as_one_word_and_links_as_their_text():
    (sentence,) = sentences("Run `backburner list --status error` as in [the guide](how-to/x.md).\n")
    assert sentence.length == 6


def test_long_sentences_are_returned_with_the_line_of_their_paragraph():
    markdown = f"Short.\n\n{'word ' * 30}end.\n"
    assert [(one.line, one.length) for one in long_sentences(markdown)] == [(3, 31)]
    assert long_sentences(markdown, 31) == []
