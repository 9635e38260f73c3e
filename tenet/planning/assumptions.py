"""Every number of a plan that is not in the preset, one line each, with the flag that changes it."""

from __future__ import annotations

from tenet import hardware
from tenet.hardware import Cluster
from tenet.planning import estimate, failures, memory
from tenet.planning.estimate import Counts
from tenet.settings.phases import told
from tenet.settings.plan import PlanConfig
from tenet.settings.preset import Preset
from tenet.units import short


def assumptions(preset: Preset, where: Cluster, config: PlanConfig, tokens: float, counts: Counts) -> list[str]:
    """Lines for a reader.

    Args:
        preset, where, config, counts: what the plan was made from.
        tokens: pretraining tokens; 0 is the preset's own number.
    """
    kept = "bf16" if memory.value_bytes(preset) == 2 else "fp32"
    lines = [
        f"{short(tokens or preset.pretrain.tokens)} pretraining tokens (--tokens)",
        *(f"{line} (preset: pretrain.phases)" for line in told(preset.pretrain.phases, tokens or preset.pretrain.tokens)),
        *_machine(where, config),
        *_speed(where, config, memory.value_bytes(preset)),
        *_interruptions(where, config, config.price == "spot"),
        *_electricity(where, config),
        *_serving(preset, config, (config.serve or where.name) == "local"),
        f"memory: weights, gradients and moments in {kept}, one block gathered and one ahead; a tenth of a device stays free; answers "
        f"are drawn from a bf16 copy of the policy that may fill {memory.COPY_SHARE:.0%} of it, in turn with learning (preset)",
        "a stage runs on as many machines as its batch has rows for, at least one copy of the sharded model (preset)",
        *counts.lines(),
        *(f"{line} (fixed in tenet/planning/estimate.py)" for line in estimate.ASSUMPTIONS),
        "not counted: data preparation, validation, start-up, storage, transfer, idle and spare machines, failed experiments, people",
    ]
    if preset.pretrain.max_epochs != "all":
        lines.append(
            f"the corpus is large enough for these tokens: one that makes more than {preset.pretrain.max_epochs} passes ends pretraining "
            "sooner (preset: pretrain.max_epochs)"
        )
    precision = preset.pretrain.compute.precision
    if not where.local and precision == "32-true":
        lines.append(
            f"pretrain.compute.precision {precision} is timed at the bf16 rate; a GPU is several times slower in fp32 (preset)"
        )
    if preset.pretrain.parallel.tensor * preset.pretrain.parallel.context > 1:
        lines.append("tensor and context parallelism are planned; training does not implement them yet (docs/scale.md)")
    return lines


def _machine(where: Cluster, config: PlanConfig) -> list[str]:
    machine, device = where.instance, where.instance.device
    note = f"; {machine.note}" if machine.note else ""
    return [
        f"{machine.count} x {device.name} a machine, {device.bf16 / 1e12:g} TFLOP/s dense each ({device.source}; --cluster)",
        f"${machine.price(config.price):g} a machine and hour, {config.price} (--price on-demand, block or spot; {machine.source}; "
        f"as of {hardware.AS_OF}{note})",
    ]


def _speed(where: Cluster, config: PlanConfig, kept: int) -> list[str]:
    device = where.instance.device
    given = f"training reaches {config.mfu:.0%} of peak, as given" if config.mfu else "utilisation of training from the roofline"
    lines = [
        f"{given} (--mfu; 0 derives it)",
        f"matrix units reach {config.matrix_efficiency or device.attained:.0%} of peak in a model's products (--matrix_efficiency"
        f"{'' if config.matrix_efficiency else '; ' + hardware.ATTAINED})",
        f"memory reaches {config.memory_efficiency:.0%} of {where.bandwidth / 1e12:.3g} TB/s a device (--memory_efficiency)",
    ]
    if where.devices > 1:
        lines += [
            f"links reach {config.network_efficiency:.0%} of {device.link / 1e9:g} GB/s between the devices of a machine and of "
            f"{where.network / 1e9:g} GB/s ({where.instance.network:g} Gbit/s) between machines (--network_efficiency)",
            f"a weight travels between shards in {config.gather_bytes or kept} bytes (--gather_bytes), its gradient in {kept}",
            f"{config.overlap:.0%} of the sharding traffic hides behind computation where there is enough of it; tensor parallel sums "
            "never do (--overlap)",
        ]
    return lines


def _interruptions(where: Cluster, config: PlanConfig, spot: bool) -> list[str]:
    if where.local:
        return [f"checkpoints are written at {config.storage:g} GB/s (--storage); this machine is not interrupted"]
    return [
        f"a device runs {config.mtbf:,.0f} hours between interruptions of its job (--mtbf; Llama 3 405B: 419 in 54 days on 16,384 GPUs "
        f"are {failures.LLAMA_MTBF_HOURS:,.0f}, arXiv:2407.21783{'; spot machines are taken away on top of that' if spot else ''})",
        f"{config.restart_minutes:g} minutes from an interruption to the first new step (--restart_minutes)",
        f"a machine writes checkpoints at {config.storage:g} GB/s and training waits for it (--storage)",
    ]


def _electricity(where: Cluster, config: PlanConfig) -> list[str]:
    machine = where.instance
    share = "" if where.local else f", {config.power:.0%} of it under load (--power; H100 nodes in training, arXiv:2506.14551)"
    return [
        f"a machine draws at most {machine.watts:,.0f} W{share}",
        f"the data centre uses {config.pue:g} times what its machines use (--pue)",
        f"{hardware.carbon(config.region):g} kg CO2e a kWh in {config.region} (--region; {hardware.CARBON_SOURCE})",
    ]


def _serving(preset: Preset, config: PlanConfig, local: bool) -> list[str]:
    machine = config.serve or "one machine of the cluster"
    most = (
        f"{preset.serve.max_concurrency} at once (serve.max_concurrency)"
        if local
        else f"{config.serve_batch} at once (--serve_batch)"
    )
    return [
        f"served in bf16 on {machine} (--serve), on demand where it is sold so, busy {config.serve_load:.0%} of the time (--serve_load)",
        f"a request has {config.serve_prompt:,} tokens of prompt and {config.serve_answer:,} of answer (--serve_prompt, --serve_answer); "
        f"a copy decodes at most {most}",
    ]
