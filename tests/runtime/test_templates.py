from __future__ import annotations

import pytest

from pool_export.runtime.errors import InputError
from pool_export.runtime.templates import ScoreTemplate, compiled

BOTH = "{{ messages[0].content }}|{{ messages[1].content }}"


def test_a_template_sees_two_messages_by_role():
    template = ScoreTemplate("{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}")
    assert template.render("q", "d") == "query=q;document=d;"


def test_blocks_leave_no_lines_behind_as_in_transformers():
    text = "{% if true %}\n  {% set x = 1 %}\nA\n{% endif %}\n" + BOTH + "\n"
    assert ScoreTemplate(text).render("q", "d") == "A\nq|d"


def test_what_transformers_offers_to_templates_is_here():
    text = BOTH + "{% for x in [1, 2] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}"
    assert ScoreTemplate(text).render("q", "d") == "q|d1"
    assert ScoreTemplate(BOTH + "{{ ['<é>'] | tojson }}").render("q", "d") == 'q|d["<é>"]'
    assert ScoreTemplate(BOTH + "{{ strftime_now('%%') }}").render("q", "d") == "q|d%"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% if %}", "not valid jinja: line 1: "),
        ("ok\n{{ messages", "not valid jinja: line 2: "),
        (BOTH + "{{ raise_exception('no luck\nat all') }}", "the score template failed: no luck$"),
        (BOTH + "{{ 1 / 0 }}", "the score template failed: division by zero"),
        (BOTH + "{{ messages.append(1) }}", "the score template failed: .*unsafe|failed: .*not safely callable"),
        (BOTH + "{{ ''.__class__.__mro__ }}", "the score template failed: .*unsafe"),
        ("{{ messages[0].content }}", "leaves out the document; expected jinja that writes the content of both"),
        ("document: {{ messages[1].content }}", "leaves out the query"),
        ("a chat template without a pair", "leaves out the query"),
    ],
)
def test_a_bad_template_is_refused_in_one_line(text: str, message: str):
    with pytest.raises(InputError, match=message) as caught:
        ScoreTemplate(text)
    assert "\n" not in str(caught.value)


def test_an_explicit_value_wins_over_the_instruction():
    template = compiled(BOTH + "{{ instruction }}{{ tone }}")
    assert template.values("a", {"instruction": "b", "tone": "c"}) == {"instruction": "b", "tone": "c"}
    assert template.values("a", None) == {"instruction": "a"}
    assert template.values(None, None) == {}


@pytest.mark.parametrize("key", ["chat_template", "tools", "tokenize", "messages"])
def test_reserved_names_are_refused(key: str):
    with pytest.raises(InputError, match=f"reserved keys: {key}"):
        compiled(BOTH).values(None, {key: 1})


def test_a_value_that_changes_nothing_is_refused():
    with pytest.raises(InputError, match="reads no 'instruction'; values it reads: none"):
        compiled(BOTH).values("judge", None)
    with pytest.raises(InputError, match="reads no 'colour'; values it reads: instruction"):
        compiled(BOTH + "{{ instruction }}").values("judge", {"colour": "red"})
    with pytest.raises(InputError, match="chat_template_kwargs must be a mapping"):
        compiled(BOTH).values(None, "red")  # type: ignore[arg-type]


def test_names_the_environment_brings_are_no_values():
    template = ScoreTemplate(BOTH + "{{ strftime_now('') }}{{ range(1) | list | length }}{% set a = namespace(b=1) %}")
    assert template.variables == frozenset()
