"""The dialects of conversations, pairs and prompts, each with the row that it must become; odd rows are refused by
line, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenet.errors import ConfigError
from tenet.rows import Kind, Row, Table, guess_kind, read_table

USER, SAID = {"role": "user", "content": "Where is the lamp?"}, {"role": "assistant", "content": "Upstairs."}
OTHER = {"role": "assistant", "content": "I could not say."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "find", "arguments": {"what": "lamp"}}}
TOOL = {
    "type": "function",
    "function": {"name": "find", "parameters": {"type": "object", "properties": {"what": {"type": "string"}}}},
}


def table(tmp_path: Path, kind: Kind, *records: Any, most_refused: float = 1.0) -> Table:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return read_table(str(path), kind, most_refused=most_refused)


def one(tmp_path: Path, kind: Kind, record: Any) -> Row:
    found = table(tmp_path, kind, record)
    assert not found.refused, found.refused
    return found.rows[0]


@pytest.mark.parametrize(
    ("record", "messages", "form"),
    [
        ({"messages": [USER, SAID]}, [USER, SAID], "messages"),
        ({"messages": json.dumps([USER, SAID])}, [USER, SAID], "messages"),
        ({"messages": [{"from": "human", "value": "Where is the lamp?"}, {"from": "gpt", "value": "Upstairs."}]}, [USER, SAID], "messages"),
        ({"conversations": [{"from": "human", "value": "Where is the lamp?"}, {"from": "gpt", "value": "Upstairs."}], "system": "Be brief."},
         [SYSTEM, USER, SAID], "ShareGPT"),
        ({"instruction": "Where is the lamp?", "input": "", "output": "Upstairs."}, [USER, SAID], "Alpaca"),
        ({"instruction": "Where is", "input": "the lamp?", "response": "Upstairs."},
         [{"role": "user", "content": "Where is\n\nthe lamp?"}, SAID], "Alpaca"),
        ({"instruction": "Where is the lamp?", "history": [["Hello", "Good morning."]], "output": "Upstairs."},
         [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good morning."}, USER, SAID], "Alpaca"),
        ({"instruction": "Where is the lamp?", "instances": [{"input": "", "output": "Upstairs."}]}, [USER, SAID], "self-instruct"),
        ({"prompt": [USER], "completion": [SAID]}, [USER, SAID], "prompt and completion"),
        ({"prompt": "Where is the lamp?", "completion": "Upstairs."}, [USER, SAID], "prompt and completion"),
        ({"prompt": "Where is the lamp?", "response": "Upstairs."}, [USER, SAID], "prompt and response"),
        ({"question": "Where is the lamp?", "answer": "Upstairs."}, [USER, SAID], "question and answer"),
        ({"text": "\n\nHuman: Where is the lamp?\n\nAssistant: Upstairs."}, [USER, SAID], "transcript"),
        ({"messages": [SYSTEM, USER, SAID]}, [SYSTEM, USER, SAID], "messages"),
        ({"messages": [SAID, USER, OTHER]}, [SAID, USER, OTHER], "messages"),
        ({"messages": [{"role": "User", "content": "Where is the lamp?"}, {"role": "Assistant", "content": "Upstairs."}]}, [USER, SAID], "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Where is"}, {"type": "text", "text": "the lamp?"}]}, SAID]},
         [{"role": "user", "content": "Where is\nthe lamp?"}, SAID], "messages"),
        ({"messages": [USER, USER, SAID]}, [USER, USER, SAID], "messages"),
        ({"messages": [USER, {**SAID, "weight": 0}, USER, {**OTHER, "weight": 1, "reasoning_content": "Hm."}]},
         [USER, {**SAID, "weight": 0}, USER, {**OTHER, "weight": 1, "reasoning_content": "Hm."}], "messages"),
        ({"prompt": {"role": "prompter", "text": "Where is the lamp?", "replies": [
            {"role": "assistant", "text": "I could not say.", "rank": 1, "replies": []},
            {"role": "assistant", "text": "Upstairs.", "rank": 0, "replies": []}]}}, [USER, SAID], "OpenAssistant's tree (the best replies)"),
    ],
)  # fmt: skip
def test_conversations(tmp_path: Path, record: Row, messages: list[Row], form: str) -> None:
    found = table(tmp_path, "conversations", record)
    assert not found.refused and found.format == form
    assert found.rows[0]["messages"] == messages
    assert found.rows[0]["id"] == "rows.jsonl:1" and found.rows[0]["source"] == "rows.jsonl" and found.rows[0]["licence"] == ""


def test_an_answer_that_is_json_stays_text(tmp_path: Path) -> None:
    row = one(tmp_path, "conversations", {"prompt": "As JSON, please.", "completion": '[{"a": 1}]'})
    assert row["messages"][1]["content"] == '[{"a": 1}]'


@pytest.mark.parametrize("arguments", [{"what": "lamp"}, '{"what": "lamp"}'])
@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), [TOOL["function"]]])
def test_tool_calls_and_tools(tmp_path: Path, arguments: Any, tools: Any) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": arguments}}
    turns = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
        SAID,
    ]
    row = one(tmp_path, "conversations", {"messages": turns, "tools": tools})
    assert row["messages"][1] == {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", **CALL}]}
    assert row["messages"][2] == {"role": "tool", "content": "2", "tool_call_id": "c1"} and row["tools"] == [TOOL]


def test_calls_in_other_words(tmp_path: Path) -> None:
    sharegpt = {"conversations": [{"from": "human", "value": "Where?"},
                {"from": "function_call", "value": '{"name": "find", "arguments": {"what": "lamp"}}'},
                {"from": "observation", "value": "2"}, {"from": "gpt", "value": "Upstairs."}]}  # fmt: skip
    old = {
        "messages": [
            USER,
            {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": '{"what": "lamp"}'}},
        ]
    }
    for record in (sharegpt, old):
        assert one(tmp_path, "conversations", record)["messages"][1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    bedrock = {"toolSpec": {"name": "find", "description": "", "inputSchema": {"json": TOOL["function"]["parameters"]}}}
    tools = one(tmp_path, "conversations", {"messages": [USER, SAID], "tools": [bedrock]})["tools"]
    assert tools[0]["function"]["parameters"] == TOOL["function"]["parameters"]


IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([USER], "no turn of the assistant"),
        ([USER, {"role": "assistant", "content": ""}], "messages[1]: the assistant says nothing"),
        ([{"role": "user", "content": None}, SAID], "messages[0]: the user says nothing"),
        ([{"role": "narrator", "content": "x"}, SAID], "messages[0]: the role is 'narrator'"),
        ([IMAGE, SAID], "of type 'image_url'; the model reads text alone"),
        ([USER, {**SAID, "weight": 0.5}], "the weight is 0.5"),
        ([USER, {**SAID, "weight": 0}], "every turn of the assistant has the weight 0"),
        ([USER, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "find", "arguments": "lamp"}}]}], "not a JSON object"),
        ("no list", "not a list of turns"),
        ([USER, "Upstairs."], "messages[1] is str"),
    ],
)  # fmt: skip
def test_an_odd_row_is_counted_by_line(tmp_path: Path, messages: Any, reason: str) -> None:
    rows = [{"messages": [{"role": "user", "content": f"Where is lamp {i}?"}, SAID]} for i in range(40)]
    rows[20] = {"messages": messages}
    found = table(tmp_path, "conversations", *rows, most_refused=0.05)
    assert [one.line for one in found.refused] == [21] and reason in found.refused[0].reason
    assert len(found.rows) == 39
    with pytest.raises(ConfigError, match=r"1 of 2 records make no row of conversations \(at most 5% may\): .*rows.jsonl:2: "):
        table(tmp_path, "conversations", rows[0], rows[20], most_refused=0.05)


def test_what_is_not_used_is_counted_by_name(tmp_path: Path) -> None:
    turns = [USER, {**SAID, "emotion": "calm", "audio": None}, {"role": "user", "content": "Thanks"}]
    found = table(
        tmp_path, "conversations", {"messages": turns, "topic": "lamps", "license": "MIT", "source": "desk", "id": 7, "group": 3}
    )
    assert found.unused == {"key 'emotion' of a turn": 1, "turn after the last answer": 1}
    row = found.rows[0]
    assert row["messages"] == [USER, SAID] and row["topic"] == "lamps"
    assert (row["id"], row["source"], row["licence"], row["group"]) == ("7", "desk", "MIT", "3") and found.licences == {"MIT": 1}


def test_shapes_may_be_mixed_and_are_all_counted(tmp_path: Path) -> None:
    rows = [{"messages": [USER, SAID]}] * 3 + [{"question": "Where?", "answer": "Here."}] * 2
    found = table(tmp_path, "conversations", *rows)
    assert len(found.rows) == 5 and found.format == "messages (3), question and answer (2)"


LONG = [USER, SAID, {"role": "user", "content": "Sure?"}]


@pytest.mark.parametrize(
    ("record", "prompt", "chosen", "rejected"),
    [
        ({"prompt": [USER], "chosen": [SAID], "rejected": [OTHER]}, [USER], SAID, OTHER),
        ({"prompt": "Where is the lamp?", "chosen": "Upstairs.", "rejected": "I could not say."}, [USER], SAID, OTHER),
        ({"prompt": "Where is the lamp?", "chosen": [USER, SAID], "rejected": [USER, OTHER], "score_chosen": 8.0}, [USER], SAID, OTHER),
        ({"chosen": [USER, SAID], "rejected": [USER, OTHER]}, [USER], SAID, OTHER),
        ({"chosen": [*LONG, SAID], "rejected": [*LONG, OTHER]}, LONG, SAID, OTHER),
        ({"prompt": "Where is the lamp?", "chosen": [SYSTEM, USER, SAID], "rejected": [SYSTEM, USER, OTHER]}, [SYSTEM, USER], SAID, OTHER),
        ({"chosen": "\n\nHuman: Where is the lamp?\n\nAssistant: Upstairs.",
          "rejected": "\n\nHuman: Where is the lamp?\n\nAssistant: I could not say."}, [USER], SAID, OTHER),
        ({"question": "Where is the lamp?", "response_j": "Upstairs.", "response_k": "I could not say."}, [USER], SAID, OTHER),
        ({"input": "Where is the lamp?", "output_1": "I could not say.", "output_2": "Upstairs.", "label": 2}, [USER], SAID, OTHER),
        ({"prompt": "Where is the lamp?", "response 1": "Upstairs.", "response 2": "I could not say.", "label": 0}, [USER], SAID, OTHER),
        ({"instruction": "Where is", "input": "the lamp?", "response1": "I could not say.", "response2": "Upstairs.",
          "annotator1": 2, "annotator2": 2, "annotator3": 1}, [{"role": "user", "content": "Where is\n\nthe lamp?"}], SAID, OTHER),
        ({"prompt": [USER], "chosen": [{"role": "assistant", "content": None, "tool_calls": [CALL]}], "rejected": [OTHER]},
         [USER], {"role": "assistant", "content": "", "tool_calls": [CALL]}, OTHER),
    ],
)  # fmt: skip
def test_preferences(tmp_path: Path, record: Row, prompt: list[Row], chosen: Row, rejected: Row) -> None:
    row = one(tmp_path, "preferences", record)
    assert (row["prompt"], row["chosen"], row["rejected"]) == (prompt, [chosen], [rejected])
    assert guess_kind(str(tmp_path / "rows.jsonl")) == "preferences"


def test_nothing_is_stamped_and_the_subset_is_the_kind(tmp_path: Path) -> None:
    record = {"prompt": "Where?", "chosen": "Here.", "rejected": "There.", "subset": "chat-hard", "id": 3}
    row = one(tmp_path, "preferences", record)
    assert (row["kind"], row["id"], row["licence"], row["source"]) == ("chat-hard", "3", "", "rows.jsonl")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "Where?", "chosen": "Here.", "rejected": "Here."}, "`chosen` and `rejected` are equal"),
        ({"chosen": "Here.", "rejected": "There."}, "there is no prompt"),
        ({"prompt": "Where?", "chosen": "Here.", "rejected": ""}, "`rejected` is empty"),
        ({"prompt": [USER, SAID], "chosen": "Here.", "rejected": "There."}, "`prompt` ends with an answer"),
        ({"input": "Where?", "output_1": "Here.", "output_2": "There.", "label": 0}, "nobody says which answer is the better one"),
        ({"prompt": [USER], "chosen": [USER, SAID, USER, OTHER], "rejected": [USER, OTHER, USER, SAID]}, "is not one answer"),
        ({"prompt": "Another?", "chosen": [USER, SAID], "rejected": [USER, OTHER]}, "`prompt` is not what `chosen` and `rejected` begin with"),
        ({"text": "x"}, "it has the columns 'text'; a pair is"),
    ],
)  # fmt: skip
def test_pairs_that_are_none(tmp_path: Path, record: Row, reason: str) -> None:
    assert reason in table(tmp_path, "preferences", record).refused[0].reason


def test_a_pair_is_no_conversation(tmp_path: Path) -> None:
    assert (
        "preference pair" in table(tmp_path, "conversations", {"prompt": "a", "chosen": "b", "rejected": "c"}).refused[0].reason
    )


def test_prompts_and_their_verifiers(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def short(row, text, tool_calls):\n    return len(text) < 5\n")
    rows = [
        {"prompt": "2 + 2?", "verifier": {"kind": "number", "answer": 4}},
        {"question": "Janet?", "answer": "a lot\n#### 18", "verifier": "number", "tools": []},
        {"prompt": [SYSTEM, USER], "answer": "Upstairs.", "verifier": '{"kind": "exact", "case": false}'},
        {"messages": [USER], "tools": [TOOL], "verifier": {"kind": "tool_call", "name": "find", "arguments": {"what": "lamp"}}},
        {"prompt": "Be short.", "verifier": "python:mine.py:short"},
        {"prompt": "Anything."},
    ]
    found = table(tmp_path, "prompts", *rows)
    assert not found.refused
    kinds = [row["verifier"]["kind"] if "verifier" in row else "" for row in found.rows]
    assert kinds == ["number", "number", "exact", "tool_call", "python", ""]
    assert found.rows[2]["verifier"] == {"kind": "exact", "case": False, "answer": ["Upstairs."]}
    assert guess_kind(str(tmp_path / "rows.jsonl")) == "prompts"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "x", "verifier": "nmber", "answer": 1}, "the kind is 'nmber'; there are exact, contains, number"),
        ({"prompt": "x", "verifier": "exact"}, "there is no `answer`"),
        ({"prompt": "x", "verifier": {"kind": "number", "answer": "none"}}, "there is no number"),
        ({"prompt": "x", "verifier": {"kind": "number", "answer": 1, "tolerence": 1}}, "key 'tolerence' is unknown"),
        ({"prompt": "x", "verifier": {"kind": "regex", "pattern": "("}}, "the pattern '(' is none"),
        ({"prompt": "x", "verifier": {"kind": "json_schema", "schema": {"type": "strng"}}}, "is no JSON schema"),
        ({"prompt": "x", "verifier": "python:gone.py:f"}, "gone.py does not exist"),
        ({"prompt": "x", "verifier": "python:f"}, "write file.py:name or module:name"),
        ({"prompt": "x", "tools": [TOOL], "verifier": {"kind": "tool_call", "name": "fnd"}}, "'fnd' is not among the row's tools (find)"),
        ({"prompt": "x", "verifier": ["exact"]}, "give a kind"),
        ({"messages": [USER, SAID]}, "ends with an answer"),
        ({"prompt": ""}, "a prompt is `prompt`"),
    ],
)  # fmt: skip
def test_malformed_prompts_are_refused_when_read(tmp_path: Path, record: Row, reason: str) -> None:
    found = table(tmp_path, "prompts", {"prompt": "fine"}, record)
    assert [one.line for one in found.refused] == [2] and reason in found.refused[0].reason


def test_documents(tmp_path: Path) -> None:
    rows = [
        {"text": "One.", "metadata": {"source": "desk", "licence": "CC0-1.0"}},
        {"text": None},
        {"text": "Two.", "metadata": '{"page": 2}'},
    ]
    found = table(tmp_path, "documents", *rows)
    assert [(row["text"], row["source"], row["licence"]) for row in found.rows] == [
        ("One.", "desk", "CC0-1.0"),
        ("Two.", "rows.jsonl", ""),
    ]
    assert found.refused[0].reason == "`text` is NoneType, not text"


def test_real_files(shared_data: Path) -> None:
    """Rows that the owners' own counts say there are; what is left out has its reason."""
    for name, kind, rows, refused in (
        ("dolly_hhrlhf/train_small.jsonl.gz", "conversations", 1000, 0),
        ("oasst100/en_100_tree.jsonl.gz", "conversations", 100, 0),
        ("gpteacher/roleplay.jsonl.gz", "conversations", 1923, 0),
        ("self_instruct/seed_tasks.jsonl.gz", "conversations", 175, 0),
        ("gsm8k/test.jsonl.gz", "conversations", 1319, 0),
        ("hh_rlhf/harmless-base/test.jsonl.gz", "preferences", 1842, 8),
        ("llmbar/natural.jsonl.gz", "preferences", 100, 0),
    ):
        path = str(shared_data / name)
        assert guess_kind(path) == kind
        found = read_table(path, kind)  # type: ignore[arg-type]
        assert (len(found.rows), len(found.refused)) == (rows, refused), name


def test_a_domains_verifiers_may_be_plain_functions(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": "Shout.", "verifier": "loud"}) + "\n")
    own = {"loud": lambda row, text, tool_calls: text.isupper()}
    assert read_table(str(path), "prompts", verifiers=own).rows[0]["verifier"] == {"kind": "loud"}
    with pytest.raises(ConfigError, match="the kind is 'loud'; there are exact"):
        read_table(str(path), "prompts")


@pytest.mark.parametrize(
    ("record", "liked"),
    [
        ({"prompt": "Where is the lamp?", "completion": "Upstairs.", "label": True}, True),
        ({"prompt": [USER], "completion": [SAID], "label": "False"}, False),
        ({"messages": [USER, SAID], "feedback": "thumbs_up"}, True),
        ({"question": "Where is the lamp?", "answer": "Upstairs.", "rating": "👎"}, False),
    ],
)
def test_ratings(tmp_path: Path, record: Row, liked: bool) -> None:
    row = one(tmp_path, "ratings", record)
    assert row["prompt"] == [USER] and row["answer"] == [SAID] and row["liked"] is liked
    assert guess_kind(str(tmp_path / "rows.jsonl")) == "ratings"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "Where is the lamp?", "completion": "Upstairs."}, "it has no `label`"),
        ({"prompt": "Where is the lamp?", "completion": "Upstairs.", "rating": 4}, "`rating` is 4; it is true or false"),
        ({"messages": [SAID, USER], "label": True}, "what is rated is user, not one answer"),
        ({"messages": [SAID], "label": True}, "there is no prompt"),
        ({"text": "Upstairs.", "label": True}, "a rating is `prompt`, `completion` and `label`"),
    ],
)
def test_what_makes_no_rating_is_refused(tmp_path: Path, record: Row, reason: str) -> None:
    found = table(tmp_path, "ratings", record)
    assert not found.rows and reason in found.refused[0].reason


def test_a_label_of_a_class_makes_no_ratings(tmp_path: Path) -> None:
    """A conversation with a column `label` of another meaning stays a conversation."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": [USER, SAID], "label": label}) + "\n" for label in ("true", "lamps")))
    assert guess_kind(str(path)) == "conversations"
