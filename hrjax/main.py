"""The command line: trains or evaluates what a config file describes."""

import logging
import pathlib
import re
import sys

import absl.logging
import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from hrjax import models
from hrjax.evaluation import evaluate
from hrjax.runtime import compilation_cache, distributed, memory
from hrjax.training import loop, train

USAGE = """Trains and evaluates high-resolution networks for human pose estimation.

draw people and train a small network on them (minutes on a CPU, no download):
    python -m hrjax.main --config=configs/quickstart.py
train a published recipe; the same command again continues where it stopped:
    python -m hrjax.main --config=configs/widehrnet_mpii.py:widehrnet_18_se
evaluate a checkpoint, of a run (its best) or of one step (…/checkpoints/12000):
    python -m hrjax.main --config=configs/quickstart.py --mode=eval --checkpoint=runs/quickstart

--config=FILE[:VARIANT[_HxW]]  a recipe, and the variant of its network and input size
--config.FIELD=VALUE           any field of it, e.g. --config.model.expansion=6 --config.seed=1
--workdir=FOLDER               where the run lives; default runs/<config>[_variant]
--mode=train|eval              default train
--checkpoint=PATH              what --mode=eval restores; default: the best of --workdir. Also a
                               file of published weights (.pth, .pdparams, …) or its https address
--output=FILE                  where --mode=eval writes its results too: .json, or .mat for MPII
--resume_from=PATH             start a new --workdir from the full state of another run or step
--devices=0,1                  which devices of this machine to use; default all
--launcher=none|auto|slurm|mpi many processes, as the launcher says (auto: Slurm, Open MPI, TPU)
--coordinator=HOST:PORT --num_processes=N --process_id=I
                               many processes, told by hand: process 0 runs at HOST
--debug                        show the traceback of an error
"""
CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
SIGNAL_EXIT = 128  # plus the signal's number, as shells report it


def main() -> int:
    """Runs the command line; returns the exit status."""
    # Some of the imported libraries have set up logging already; what is set here replaces it.
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    # Libraries speak only when something is wrong; Orbax calls a missing optional file a warning.
    absl.logging.set_verbosity(absl.logging.ERROR)
    logging.getLogger("jax").setLevel(logging.WARNING)
    memory.keep_freed_memory()
    if len(sys.argv) == 1 or {"-h", "-help", "--help", "--helpfull"} & set(sys.argv):
        print(f"{USAGE}\n{_list_configs()}")
        return 0
    try:
        return _run(_parse(sys.argv))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return SIGNAL_EXIT + 2
    except (ValueError, OSError, flags.Error, loop.NonFiniteLossError) as error:
        if "--debug" in sys.argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or "--debug" in sys.argv:
            raise
        print(f"error: another process may have ended: {error}", file=sys.stderr)
        return 1


def _run(options: flags.FlagValues) -> int:
    config: ConfigDict = options.config
    workdir = pathlib.Path(options.workdir or _default_workdir(options))
    if options.mode == "eval" and options.resume_from:
        raise ValueError("--resume_from belongs to training; name the --checkpoint to evaluate")
    if options.mode == "train" and options.output:
        raise ValueError("--output belongs to --mode=eval")
    if options.mode == "train" and options.checkpoint:
        raise ValueError(
            "--checkpoint belongs to --mode=eval; to train on, use --resume_from (the full state) "
            "or --config.init_from (the weights)"
        )
    compilation_cache.use_compilation_cache()
    mesh = distributed.make_mesh(_join(options))
    try:
        if options.mode == "eval":
            checkpoint = options.checkpoint or str(workdir)
            evaluate.evaluate(
                config, workdir, checkpoint=checkpoint, output=options.output, mesh=mesh
            )
            return 0
        number = train.train(config, workdir, mesh=mesh, resume_from=options.resume_from)
        return SIGNAL_EXIT + number if number else 0
    except jax.errors.JaxRuntimeError as error:
        memory.check_memory(error, config)
        raise


def _join(options):
    """The devices of the job; from here on only process 0 speaks."""
    if options.config.deterministic:
        distributed.make_deterministic()
    devices = distributed.join(
        options.launcher,
        coordinator=options.coordinator,
        num_processes=options.num_processes,
        process_id=options.process_id,
        devices=_numbers(options.devices),
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


def _parse(argv: list[str]) -> flags.FlagValues:
    options = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=options, lock_config=True)
    flags.DEFINE_string("workdir", "", "where the run lives", flag_values=options)
    flags.DEFINE_enum("mode", "train", ["train", "eval"], "what to do", flag_values=options)
    flags.DEFINE_string("checkpoint", "", "what eval restores", flag_values=options)
    flags.DEFINE_string("output", "", "where eval writes results too", flag_values=options)
    flags.DEFINE_string("resume_from", "", "what training starts from", flag_values=options)
    flags.DEFINE_string("devices", "all", "numbers of devices", flag_values=options)
    flags.DEFINE_enum(
        "launcher", "none", [*distributed.LAUNCHERS], "who starts", flag_values=options
    )
    flags.DEFINE_string("coordinator", "", "host:port of process 0", flag_values=options)
    flags.DEFINE_integer("num_processes", None, "how many", flag_values=options)
    flags.DEFINE_integer("process_id", None, "which one", flag_values=options)
    flags.DEFINE_bool("debug", False, "show tracebacks", flag_values=options)
    _check_config_file(argv)
    try:
        rest = options(argv)[1:]
    except (AttributeError, KeyError) as error:
        problem = str(error).strip("\"'").replace("\\n", "\n").replace("\\", "")
        raise ValueError(f"unknown config field in the command: {problem}") from error
    except flags.IllegalFlagValueError as error:
        raise ValueError(_first_cause(error)) from error
    if rest:
        raise ValueError(f"unknown argument {rest[0]!r}; every option starts with --")
    return options


def _first_cause(error):
    """What a config file raised, without the traceback that ml_collections wraps it in."""
    if "Traceback" not in str(error):
        return str(error)
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def _check_config_file(argv):
    values = [
        following if argument.count("=") == 0 else argument.split("=", 1)[1]
        for argument, following in zip(argv, [*argv[1:], ""], strict=True)
        if argument.split("=")[0] in ("--config", "-config")
    ]
    if not values:
        raise ValueError(f"no --config=FILE in the command\n\n{_list_configs()}")
    file = pathlib.Path(values[-1].split(":")[0])
    if not file.is_file():
        raise ValueError(
            f"there is no config file {file} (from {pathlib.Path.cwd()})\n\n{_list_configs()}"
        )


def _default_workdir(options):
    name, _, variant = config_flags.get_config_filename(options["config"]).partition(":")
    stem = pathlib.Path(name).stem
    return f"runs/{stem}_{variant}" if variant else f"runs/{stem}"


def _list_configs():
    families = {}
    for name, variant in models.VARIANTS.items():
        families.setdefault(type(variant), []).append(name)
    names = sorted(file.stem for file in CONFIGS.glob("*.py"))
    rows = [f"    configs/{name}.py" for name in names if name not in ("__init__", "common")]
    variants = [f"    {', '.join(members)}" for members in families.values()]
    return "\n".join(["configs:", *rows, "variants, one family a line:", *variants])


if __name__ == "__main__":
    sys.exit(main())
