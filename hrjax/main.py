"""The command line: trains or evaluates what a config file or a checkpoint describes."""

import logging
import re
import sys

from absl import flags

from hrjax.config import command_line
from hrjax.runtime import signals, terminal

# JAX and everything that imports it wait until they are needed, so that --help answers at once.

logger = logging.getLogger("hrjax.main")  # not __name__, which is __main__ here

EVALUATED = ("model.", "data.", "heatmap.", "eval.")  # fields that an evaluation depends on


def main() -> int:
    """Runs the command line; returns the exit status."""
    terminal.set_up_logging()
    topic = command_line.topic(sys.argv)
    if topic is not None:
        return terminal.guard(lambda: print(command_line.usage(topic)))
    debug = "--debug" in sys.argv
    return terminal.guard(lambda: _run(command_line.parse(sys.argv)), explain=_explain, debug=debug)


def _explain(error):
    """The message of an error of this command that the user can act on; None for others."""
    if isinstance(error, flags.Error):
        return str(error)
    if not isinstance(error, RuntimeError):
        return None
    import jax

    from hrjax.training.loop import NonFiniteLossError

    if isinstance(error, NonFiniteLossError):
        return str(error)
    if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
        return f"another process may have ended: {error}"
    return None


def _run(command):
    import jax

    from hrjax.config import checks
    from hrjax.runtime import compilation_cache, distributed, memory

    for warning in checks.check(command.config):
        logger.warning(warning)
    memory.keep_freed_memory()
    compilation_cache.use_compilation_cache()
    mesh = distributed.make_mesh(_join(command))
    evaluates = command.flags.mode == "eval"
    sections = ("eval",) if evaluates else ("train", "eval")
    checks.check_devices(command.config, mesh.devices.size, sections=sections)
    try:
        return _evaluate(command, mesh) if evaluates else _train(command, mesh)
    except jax.errors.JaxRuntimeError as error:
        memory.check_memory(error, command.config)
        raise


def _train(command, mesh):
    from hrjax.training import train

    resume_from = command.flags.resume_from
    number = train.train(command.config, command.workdir, mesh=mesh, resume_from=resume_from)
    return signals.EXIT + number if number else 0


def _evaluate(command, mesh):
    from hrjax import experiment
    from hrjax.evaluation import evaluate
    from hrjax.weights import source

    config, output = command.config, command.flags.output
    weights = command.weights or source.open(command.flags.checkpoint or command.workdir)
    if command.weights or weights.config_file or weights.saved_card:
        _log_differences(weights, config)
    if command.weights:  # the config came with the checkpoint: its paths may be anything
        config = experiment.without_drawing(config)
    workdir = command.workdir
    if weights.run and not command.flags.workdir:
        workdir = weights.run
    evaluate.evaluate(config, workdir, checkpoint=weights, output=output, mesh=mesh)
    return 0


def _log_differences(weights, config):
    """Says in one line how the config differs from the one that came with the weights."""
    from hrjax.runtime import run_folder

    own, now = (run_folder.flatten(x.to_dict()) for x in (weights.config, config))
    differences = [
        f"{name} is {now.get(name)!r} instead of {own.get(name)!r}"
        for name in sorted(own.keys() | now.keys())
        if name.startswith(EVALUATED) and own.get(name) != now.get(name)
    ]
    which = "the config of its model card" if weights.saved_card else "the recipe of its variant"
    which = "the run's own config" if weights.config_file else which
    but = f", but {', '.join(differences)}" if differences else ""
    logger.info("evaluating with %s%s", which, but)


def _join(command):
    """The devices of the job; from here on only process 0 logs."""
    import jax

    from hrjax.runtime import distributed

    if command.config.deterministic:
        distributed.make_deterministic()
    devices = distributed.join(
        command.flags.launcher,
        coordinator=command.flags.coordinator,
        num_processes=command.flags.num_processes,
        process_id=command.flags.process_id,
        devices=_numbers(command.flags.devices),
    )
    if jax.process_index():
        logging.getLogger().setLevel(logging.WARNING)
    return devices


def _numbers(names):
    """The numbers in --devices, or None for all."""
    if names == "all":
        return None
    if not re.fullmatch(r"\d+(,\d+)*", names):
        raise ValueError(f"--devices={names}: expected numbers with commas, e.g. --devices=0,1")
    return [int(name) for name in names.split(",")]


if __name__ == "__main__":
    terminal.run(main)
