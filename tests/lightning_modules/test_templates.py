"""Templates and tokenizers of others: rendered as transformers renders them, learnt as they will be served, stopped
where they stop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.data.chat import CHAT_TEMPLATE, END_OF_TEXT, TURN_END, TURN_START, ChatTokenizer
from lightning_modules.data.conversations import encode
from lightning_modules.data.templates import ConversationError
from lightning_modules.generation.grammar import Grammars
from lightning_modules.generation.protocol import Refused
from lightning_modules.model.errors import ModelFolderError
from lightning_modules.model.tokenizer_files import copy_tokenizer_files, fingerprint, same_tokenizer
from tests.lightning_modules.tiny import raw_tokenizer, tiny_tokenizer

PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: As Qwen3's: earlier answers lose their thoughts once the user has asked again.
THINK = (
    "{% set last = namespace(q=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set last.q = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% set c = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in c and loop.index0 < last.q %}{% set c = c.split('</think>')[-1] %}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ c }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: As Llama 3's: a beginning of the text, headers, an end of the turn that is not the end of the text.
LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
#: As Mistral's first: the question in plain letters, the answer closed by the end of the text.
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
GENERATION = PLAIN.replace("{{ m.content }}<|im_end|>", "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}")
TOOLS = [{"type": "function", "function": {"name": "tide", "parameters": {"type": "object", "properties": {"ä<port>": {}}}}}]
MESSAGES = [{"role": "user", "content": "High tide?"}, {"role": "assistant", "content": "At noon."}]
TWO = [
    MESSAGES[0],
    {"role": "assistant", "content": "<think>moon</think>At noon."},
    {"role": "user", "content": "And low?"},
    {"role": "assistant", "content": "<think>half</think>At six."},
]


def folder_of(folder: Path, template: str | list[dict[str, str]], tokenizer: Any = None, **config: Any) -> Path:
    folder.mkdir()
    (tokenizer or raw_tokenizer()).save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": END_OF_TEXT, "eos_token": TURN_END, **config}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template, **tokens})
    )
    return folder


def special(tokenizer: Any, *tokens: str) -> Any:
    tokenizer.add_special_tokens(list(tokens))
    return tokenizer


@pytest.mark.parametrize(
    "template",
    [
        "{% if messages[0].role == 'tool' %}{{ raise_exception('no') }}{% endif %}" + PLAIN,
        "<|im_start|>system\nThe year is {{ strftime_now('%Y') }}.<|im_end|>\n" + PLAIN,
        "{% if tools %}{{ tools | tojson(indent=2) }}{{ tools | tojson }}{{ tools | tojson(ensure_ascii=True) }}{% endif %}"
        + PLAIN,
        "{{ bos_token }}{{ eos_token }}{{ unk_token }}" + PLAIN,
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}" + PLAIN,
        GENERATION,
        "{% if documents is none and not custom %}-{% endif %}\n  {% if true %}\n  x\n  {% endif %}\n" + PLAIN,
    ],
)
def test_what_transformers_gives_to_templates(tmp_path: Path, template: str) -> None:
    from transformers import AutoTokenizer

    folder = folder_of(tmp_path / "t", template)
    theirs, ours = AutoTokenizer.from_pretrained(folder), ChatTokenizer.from_folder(folder)
    for tools in (None, TOOLS) if ours.knows_tools else (None,):  # otherwise tests/lightning_modules/test_hermes.py
        expected = theirs.apply_chat_template(MESSAGES[:1], tools=tools, tokenize=False, add_generation_prompt=True)
        assert ours.render(MESSAGES[:1], tools, generation=True) == expected
        ids = theirs.apply_chat_template(MESSAGES[:1], tools=tools, add_generation_prompt=True, return_dict=True)["input_ids"]
        assert ours.prompt(MESSAGES[:1], tools) == ids


def test_today_can_be_another_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert ChatTokenizer(raw_tokenizer(), "{{ strftime_now('%d %b %Y') }}" + PLAIN).render(MESSAGES).startswith("02 Jan 1970")


def test_named_templates_and_where_they_stand(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    named = [{"name": "default", "template": "D" + PLAIN}, {"name": "tool_use", "template": "T{{ tools | length }}" + PLAIN}]
    folder = folder_of(tmp_path / "t", named)
    theirs = AutoTokenizer.from_pretrained(folder)
    for tools in (None, TOOLS):
        expected = theirs.apply_chat_template(MESSAGES, tools=tools, tokenize=False)
        assert ChatTokenizer.from_folder(folder).render(MESSAGES, tools) == expected
    (folder / "chat_template.jinja").write_text("J" + PLAIN)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("A" + PLAIN)
    copy_tokenizer_files(folder, tmp_path / "copy")
    ours = ChatTokenizer.from_folder(tmp_path / "copy")
    assert (ours.render(MESSAGES)[0], ours.render(MESSAGES, TOOLS)[0]) == ("J", "A")
    folder_of(tmp_path / "nameless", named[1:])
    with pytest.raises(ModelFolderError, match="tool_use and none named default"):
        ChatTokenizer.from_folder(tmp_path / "nameless")


def test_a_template_that_refuses_says_so(tmp_path: Path) -> None:
    ours = ChatTokenizer.from_folder(folder_of(tmp_path / "t", MISTRAL, bos_token="<s>", eos_token=END_OF_TEXT))
    rows = [{"messages": MESSAGES}, {"id": "the-bad-one", "messages": [{"role": "system", "content": "Be kind."}, *MESSAGES]}]
    with pytest.raises(
        ConversationError, match=r"conversation 'the-bad-one': the chat template refuses .*: only user and assistant"
    ):
        encode(ours, rows, 512)
    del rows[1]["id"]
    with pytest.raises(ConversationError, match="conversation number 2, which begins 'High tide"):
        encode(ours, rows, 512)
    with pytest.raises(ConversationError, match="TypeError"):
        tiny_tokenizer().render([{"role": "user", "content": None}])
    folder = folder_of(tmp_path / "broken", "{% for %}")
    with pytest.raises(ModelFolderError, match=r"no valid Jinja \(line 1"):
        ChatTokenizer.from_folder(folder)


# --- what is learnt --------------------------------------------------------------------------------------------------


def said(tokenizer: ChatTokenizer, ids: list[int], mask: list[bool]) -> str:
    return tokenizer.decode([i for i, learnt in zip(ids, mask, strict=True) if learnt], keep_special=True)


def test_every_turn_is_learnt_behind_the_prompt_that_asks_for_it() -> None:
    """Thoughts are in the turn that is learnt and not in the history before it, as the endpoint will send it."""
    ours = ChatTokenizer(raw_tokenizer(), THINK)
    first, second = ours.examples(TWO)
    for (ids, mask), upto in ((first, 1), (second, 3)):
        start = mask.index(True)
        assert ids[:start] == ours.prompt(TWO[:upto]) and all(mask[start:])
        assert said(ours, ids, mask) == TWO[upto]["content"] + TURN_END
    assert "moon" not in ours.decode(second[0])
    trees, left_out = encode(ours, [{"messages": TWO}, {"messages": MESSAGES}], 512)
    assert (len(trees), left_out) == (3, 0)
    trees, left_out = encode(ours, [{"messages": TWO}], len(first[0]))
    assert (len(trees), left_out) == (1, 1)  # the second turn does not fit, the first does


#: As Qwen3's: thoughts of the answers to the last question, from their own key.
THOUGHTS = PLAIN.replace(
    "{{ m.content }}",
    "{% if m.reasoning_content and loop.index0 > messages | length - 2 %}<think>{{ m.reasoning_content }}</think>\n{% endif %}{{ m.content }}",
)


def test_thoughts_are_taught_in_each_turn_or_refused() -> None:
    thought = [
        {**message, "content": message["content"].split(">")[-1], **({"reasoning_content": mind} if mind else {})}
        for message, mind in zip(TWO, ("", "the moon", "", "half"), strict=True)
    ]
    first, second = ChatTokenizer(raw_tokenizer(), THOUGHTS).examples(thought)
    ours = tiny_tokenizer()
    assert said(ours, *first) == f"<think>the moon</think>\nAt noon.{TURN_END}" and "moon" not in ours.decode(second[0])
    assert said(ours, *second) == f"<think>half</think>\nAt six.{TURN_END}"
    for tokenizer in (ours, ChatTokenizer(raw_tokenizer(), THINK)):
        with pytest.raises(
            ConversationError, match=r"leaves the reasoning_content of message 2 out of .*; take it out of the row"
        ):
            tokenizer.examples(thought)
        assert tokenizer.examples([{**m, "weight": 0} if m.get("reasoning_content") else m for m in thought])  # read, not learnt
    with pytest.raises(ConversationError, match="conversation 'deep'"):
        encode(ours, [{"id": "deep", "messages": thought}], 512)


def test_words_and_calls_are_taught_or_refused() -> None:
    """As Llama 3.1's, which writes a call in the place of the words beside it; and one that shows tools and no calls."""
    call = {"type": "function", "function": {"name": "tide", "arguments": {'a "port"': "Kiel"}}}
    turn = [MESSAGES[0], {"role": "assistant", "content": "", "tool_calls": [call]}]
    assert "Kiel" in said(tiny_tokenizer(), *tiny_tokenizer().examples(turn, TOOLS)[0])
    shown = "{{ (tools or []) | tojson }}"
    instead = shown + PLAIN.replace("{{ m.content }}", "{{ m.tool_calls[0].function | tojson if m.tool_calls else m.content }}")
    one = ChatTokenizer(raw_tokenizer(), instead)
    assert '\\"port\\"' in said(one, *one.examples(turn, TOOLS)[0])
    with pytest.raises(ConversationError, match="leaves the content of message 2 out"):
        one.examples([turn[0], {**turn[1], "content": "Let me look."}], TOOLS)
    with pytest.raises(ConversationError, match="leaves the tool call of message 2 out"):
        ChatTokenizer(raw_tokenizer(), shown + PLAIN).examples(turn, TOOLS)


def test_turns_that_only_append_are_one_example() -> None:
    ours = ChatTokenizer(raw_tokenizer(), THINK)
    calm = [{**message, "content": message["content"].split(">")[-1]} for message in TWO]
    [(ids, mask)] = ours.examples(calm)
    assert said(ours, ids, mask) == f"At noon.{TURN_END}At six.{TURN_END}"
    [(ids, mask)] = tiny_tokenizer().examples(TWO)  # ours keeps thoughts
    assert said(ours, ids, mask) == f"{TWO[1]['content']}{TURN_END}{TWO[3]['content']}{TURN_END}"


def test_a_thought_is_a_token_in_an_answer_and_text_in_a_question() -> None:
    tokenizer = raw_tokenizer()
    tokenizer.add_tokens(["<think>", "</think>"])  # not special, as in Qwen3
    ours = ChatTokenizer(tokenizer, THINK)
    thought = tokenizer.token_to_id("</think>")
    first, second = ours.examples([{"role": "user", "content": "Say </think>"}, *TWO[1:]])
    assert first[0].count(thought) == second[0].count(thought) == 1
    assert "moon" not in ours.decode(second[0])  # the template found the tag and dropped what is before it


def test_another_format_with_its_own_tokens(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = special(raw_tokenizer(), "<|begin|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>")
    folder = folder_of(tmp_path / "t", LLAMA, tokenizer, bos_token="<|begin|>", eos_token="<|eot_id|>")
    end, more = tokenizer.token_to_id("<|eot_id|>"), tokenizer.token_to_id("<|eom_id|>")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [more, end]}))
    ours, theirs = ChatTokenizer.from_folder(folder), AutoTokenizer.from_pretrained(folder)
    prompt = ours.prompt(MESSAGES[:1])
    assert prompt == theirs.apply_chat_template(MESSAGES[:1], add_generation_prompt=True, return_dict=True)["input_ids"]
    assert prompt.count(tokenizer.token_to_id("<|begin|>")) == 1
    assert ours.turn_end == end and set(ours.stop_ids) == {end, more, tokenizer.token_to_id(END_OF_TEXT)}
    ids, mask = ours.conversation([*MESSAGES, {"role": "user", "content": "<|eot_id|>?"}, *MESSAGES[1:]])
    assert said(ours, ids, mask) == "At noon.<|eot_id|>" * 2 and ids.count(end) == 4


def test_a_tokenizer_that_puts_a_blank_before_every_text(tmp_path: Path) -> None:
    """Two pieces have other tokens than the whole: what is learnt must still continue the very prompt that is
    served."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import AutoTokenizer

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    text = ["[INST]", "High", "tide?", "[/INST]", "At", "noon.", "And", "low?"] * 3  # word by word: no merge crosses a blank
    tokenizer.train_from_iterator(
        text, trainers.BpeTrainer(vocab_size=90, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    )
    ours = ChatTokenizer.from_folder(folder_of(tmp_path / "t", MISTRAL, tokenizer, bos_token="<s>", eos_token="</s>"))
    theirs = AutoTokenizer.from_pretrained(tmp_path / "t")
    turns = [*MESSAGES, {"role": "user", "content": "And low?"}, {"role": "assistant", "content": "noon."}]
    [(ids, mask)] = ours.examples(turns)
    assert ids == theirs.apply_chat_template(turns, return_dict=True)["input_ids"]
    assert ours.prompt(turns[:1]) == ids[: mask.index(True)]
    assert said(ours, ids, mask).replace(" ", "") == "Atnoon.</s>noon.</s>" and ours.stop_ids == (ours.turn_end,)
    with pytest.raises(Refused, match="not byte-level"):
        Grammars(tokenizer, 90, ours.stop_ids).matcher('start: "a"')


def test_a_text_is_never_cut_short_by_the_file(tmp_path: Path) -> None:
    tokenizer = raw_tokenizer()
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=40)
    ours = ChatTokenizer.from_folder(folder_of(tmp_path / "t", PLAIN, tokenizer))
    assert ours.encode("a b c d e f g h i j k l") == tiny_tokenizer().encode("a b c d e f g h i j k l")


def test_nothing_that_ends_an_answer_is_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "t", "{{ messages[0].content }}", eos_token=None)
    with pytest.raises(ModelFolderError, match="nothing ends an answer"):
        ChatTokenizer.from_folder(folder)
    ours = ChatTokenizer.from_folder(folder_of(tmp_path / "e", "{{ messages[0].content }}"))  # serves, and cannot be trained
    assert ours.turn_end == ours.tokenizer.token_to_id(TURN_END)
    with pytest.raises(ConversationError, match="nothing would teach it to stop"):
        ours.examples(MESSAGES)


# --- the same tokenizer ----------------------------------------------------------------------------------------------


def test_tokenizers_are_told_apart(tmp_path: Path) -> None:
    one = folder_of(tmp_path / "one", PLAIN)
    same = folder_of(tmp_path / "same", CHAT_TEMPLATE)
    assert same_tokenizer(one, same) == [] and fingerprint(one) == fingerprint(same)
    content = json.loads((one / "tokenizer.json").read_text())

    def other(name: str, change: Any) -> list[str]:
        shutil.copytree(one, tmp_path / name)
        changed = json.loads(json.dumps(content))
        change(changed)
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(changed))
        return same_tokenizer(one, tmp_path / name)

    def swap(c: Any) -> None:
        c["model"]["vocab"]["a"], c["model"]["vocab"]["b"] = c["model"]["vocab"]["b"], c["model"]["vocab"]["a"]

    assert "ids are other entries, e.g." in other("swapped", swap)[0]
    assert "other merges" in other("merges", lambda c: c["model"]["merges"].reverse())[0]
    assert "316 entries" in other("fewer", lambda c: c.update(added_tokens=c["added_tokens"][:3]))[0].replace(
        "320 entries and 316", "316 entries"
    )
    assert repr(TURN_START) in other("special", lambda c: c["added_tokens"][1].update(special=False))[0]
    assert "cut into other tokens" in other("blank", lambda c: c["pre_tokenizer"].update(add_prefix_space=True))[0]
    assert fingerprint(tmp_path / "blank") == fingerprint(one) != fingerprint(tmp_path / "merges")
    assert other("older", lambda c: c["model"].update(merges=[" ".join(m) for m in c["model"]["merges"]])) == []
    with pytest.raises(ModelFolderError, match=r"tokenizer\.json"):
        same_tokenizer(one, tmp_path)
