"""From settings to judges: the parts of the reward, and the environment, that a run of policy optimisation is paid
by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.model.decoder import Decoder
from lightning_modules.modules.reward import load_reward
from tenet.constitution.checks import parse_check
from tenet.constitution.principles import load_constitution
from tenet.domains.loading import load_code
from tenet.errors import ConfigError
from tenet.model_folders import check_same_tokenizer, refused_as
from tenet.pipeline.subject import file_of
from tenet.posttrain.calculator import Calculator
from tenet.posttrain.environments import Conversations, Environment
from tenet.posttrain.reward_parts import ByEnvironment, ByFunction, ByModel, ByRule, ByVerifier, Scorer, imported
from tenet.posttrain.rewards import Rewards
from tenet.runs.workspace import Workspace
from tenet.settings.rewards import EnvironmentConfig, RewardPart
from tenet.settings.training import RlhfConfig
from tenet.verifiers import Verifier


def rewards_of(config: RlhfConfig, ws: Workspace, tokenizer: ChatTokenizer, verifiers: Mapping[str, Verifier]) -> Rewards:
    """Every part with its judge.

    Raises:
        ConfigError: a part's model, rule or function is not there.
    """
    return Rewards([(part, _scorer(part, ws, tokenizer, verifiers)) for part in config.parts(ws.has("reward"))])


def _scorer(part: RewardPart, ws: Workspace, tokenizer: ChatTokenizer, verifiers: Mapping[str, Verifier]) -> Scorer:
    if part.kind == "verifier":
        return ByVerifier(tokenizer, verifiers)
    if part.kind == "model":
        return _model(part, ws, tokenizer)
    if part.kind == "principle":
        return ByRule(tokenizer, _rule(part, ws))
    if part.kind == "python":
        return ByFunction(tokenizer, part.label, part.call)
    return ByEnvironment()


def _model(part: RewardPart, ws: Workspace, tokenizer: ChatTokenizer) -> ByModel:
    """A reward model, which reads the policy's very token ids."""
    where = f"rlhf.rewards {part.label}"
    if not part.path and not ws.has("reward"):
        raise ConfigError(
            f"{where}: this run has no reward stage; name a reward model's folder (`path: runs/OTHER/reward/reward`), or take the part out"
        )
    folder = Path(part.path) if part.path else ws.input("reward") / "reward"
    way_out = (
        "Train the reward model from this model too (`tenet reward --model`), or leave it out: --rewards '[{kind: verifier}]'"
    )
    check_same_tokenizer(ws.start, folder, f"{ws.stage}.start_from", way_out)
    with refused_as(where):
        return ByModel(tokenizer, load_reward(folder))


def _rule(part: RewardPart, ws: Workspace) -> Callable[[str, str], bool]:
    """The rule of a principle, or the one that stands in the part."""
    where = f"rlhf.rewards {part.label}"
    if part.check:
        return parse_check(where, "check", part.check).passes
    principle = load_constitution(file_of(ws, "constitution", part.constitution), prompts=False)[part.principle]
    if principle.check is None:
        raise ConfigError(
            f"{where}: principle {principle.id} has no key `check`, and no model judges here; write a rule, e.g. `check: {{refuses: true}}`"
        )
    return principle.check.passes


def environment_of(config: EnvironmentConfig, ws: Workspace, tokenizer: ChatTokenizer, model: Decoder) -> Conversations | None:
    """What begins conversations; None where an answer is all there is.

    Raises:
        ConfigError: there is no such environment, or its conversations are longer than the model reads.
    """
    if not config.kind:
        return None
    longest = model.config.max_position_embeddings
    if config.max_tokens > longest:
        raise ConfigError(f"rlhf.environment.max_tokens is {config.max_tokens}; the model reads {longest} tokens; lower it")
    return Conversations(tokenizer, _maker(config, ws), config.max_turns, config.max_tokens or longest)


def _maker(config: EnvironmentConfig, ws: Workspace) -> Callable[[], Environment]:
    if config.kind == "calculator":
        return Calculator
    if config.kind == "python":
        return imported("rlhf.environment.call", config.call)
    make = load_code(ws.domain).environment if ws.domain else None
    if make is None:
        named = f"domain {ws.domain.name} has none" if ws.domain else "there is no domain"
        raise ConfigError(
            f"rlhf.environment.kind is domain, and {named}; write ENVIRONMENT in its rows.py, or set the kind to calculator or python"
        )
    return make
